"""What a person reads: accuracies with intervals, faithfulness, transcripts, runs by seed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandera.errors import SchemaError

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.recbench.schemas import Outcomes
from rerec_pipeline.recbench.task import Example, PromptWording, RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.reporting import pages, plots, transcripts
from rerec_pipeline.reporting.accuracy import bootstrap_interval, summarise
from rerec_pipeline.reporting.by_seed import Run, table
from rerec_pipeline.reporting.faithfulness import StatementReader, shares_confirmed
from rerec_pipeline.reporting.outcomes import outcome_table
from rerec_pipeline.reporting.report import report_policy
from rerec_pipeline.rerec.reward import Reward, RewardContext
from rerec_pipeline.training.rollouts import RolloutScorer
from tests.reporting.test_pages import check_page

TITLES = ["Amélie (2001)", "Toy Story (1995)", "Toy Story 2 (1999)", "Brazil (1985)"]
FACTS = [
    (0, ("Starring", "Audrey Tautou")),
    (0, ("Genre", "Comedy")),
    (1, ("Directed_by", "John Lasseter")),
    (1, ("Genre", "Animation")),
    (2, ("Directed_by", "John Lasseter")),
    (3, ("Directed_by", "Terry Gilliam")),
    (3, ("Starring", "Robert De Niro")),
]


def measured(accuracy, facts):
    row = {"accuracy": accuracy, "n": 8, "clusters": 4,
           "interval": [accuracy / 4, min(1, 2 * accuracy - accuracy / 4)]}  # fmt: skip
    return {
        **row, "by_type": {"explicit": row}, "qas": 0.5, "pas": 0.25, "well_formed": 1.0,
        "truncated": 0.0, "paragraphs_penalised": 0.25,
        "faithfulness": {"facts_confirmed": facts, "verdicts_confirmed": 1.0},
    }  # fmt: skip


METRICS = {
    "before": measured(0.25, None), "after": measured(0.5, 0.75), "gain": 0.25,
    "baselines": {"random": {"accuracy": 0.1}}, "run": {"split": "test"},
}  # fmt: skip


@pytest.fixture(scope="module")
def task():
    wording = PromptWording(
        system="",
        user="{candidates}\n{query}",
        history="{titles}",
        separator="\n",
        evidence=0,
        evidence_words=0,
        order="drawn",
        known="{facts}",
    )
    return RecTask(ItemIndex([1, 2, 3, 4], TITLES), wording)


@pytest.fixture(scope="module")
def graph():
    return AttributeGraph(len(TITLES), ((item, *attribute) for item, attribute in FACTS))


def example(truth=3, query_type="explicit", conditions=(("Starring", "Robert De Niro"),)):
    return Example("q1", query_type, [], truth, (0, 1, 2, 3), conditions)


class TestAccuracy:
    def test_counts_means_and_types(self):
        correct = np.array([True, False, True, True])
        report = summarise(
            correct, ["a", "a", "b", "b"], np.array([4, 4, 4, 6]), Bootstrap(200, 0.95, 0)
        )
        assert (report["accuracy"], report["n"]) == (0.75, 4)
        assert {k: (v["accuracy"], v["n"]) for k, v in report["by_type"].items()} == {
            "a": (0.5, 2),
            "b": (1.0, 2),
        }
        assert report["by_type"]["b"]["interval"] == [1.0, 1.0]

    def test_the_interval_is_the_binomial_one(self):
        """Resampled means of 100 zeros and ones, half of each, have a standard error of 0.05."""
        low, high = bootstrap_interval(np.repeat([0.0, 1.0], 50), Bootstrap(4000, 0.95, 0))
        assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.011)
        assert high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.011)

    def test_clusters_that_agree_count_once(self):
        """Ten clusters of ten: the error of a mean of 10 values, not of 100."""
        values, clusters = np.repeat([0.0, 1.0], 50), np.repeat(np.arange(10), 10)
        low, high = bootstrap_interval(values, Bootstrap(4000, 0.95, 0), clusters)
        assert (low, high) == pytest.approx((0.2, 0.8))

    @given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 5))
    def test_it_holds_the_mean_and_follows_the_seed(self, values, seed):
        array = np.array(values, dtype=float)
        low, high = bootstrap_interval(array, Bootstrap(150, 0.99, seed))
        assert 0 <= low <= high <= 1
        assert [low, high] == bootstrap_interval(array, Bootstrap(150, 0.99, seed))
        assert low - 1e-9 <= array.mean() <= high + 1e-9 or len(values) < 10


class TestFaithfulness:
    def read(self, task, graph, *paragraphs, asked=None):
        return StatementReader(task, graph).read(paragraphs, asked or example())

    def test_true_and_false_facts(self, task, graph):
        said = self.read(
            task, graph,
            "Brazil (1985): directed by Terry Gilliam; starring Audrey Tautou.",
            "Amélie (2001): Comedy.",
        )  # fmt: skip
        assert [(s.item, s.claim, s.confirmed) for s in said] == [
            (3, ("Directed_by", "Terry Gilliam"), True),
            (3, ("Starring", "Audrey Tautou"), False),
            (0, ("Genre", "Comedy"), True),
        ]

    def test_a_director_is_not_a_star(self, task, graph):
        said = self.read(task, graph, "Toy Story (1995): starring John Lasseter.")
        assert [s.confirmed for s in said] == [False]

    @pytest.mark.parametrize(
        ("text", "confirmed"),
        [
            ("Brazil (1985): starring Robert De Niro. Fits.", True),
            ("Brazil (1985): starring Robert De Niro. Does not fit.", False),
            ("Toy Story (1995) does not fit.", True),
            ("Toy Story (1995) fits.", False),
        ],
    )
    def test_verdicts_are_held_against_the_conditions(self, task, graph, text, confirmed):
        verdicts = [s for s in self.read(task, graph, text) if s.kind == "verdict"]
        assert [v.confirmed for v in verdicts] == [confirmed]

    def test_without_conditions_no_verdict_is_judged(self, task, graph):
        asked = example(query_type="interest", conditions=())
        assert self.read(task, graph, "Brazil (1985) fits.", asked=asked) == []

    def test_a_sequel_is_not_its_original(self, task, graph):
        said = self.read(task, graph, "Toy Story 2 (1999): directed by John Lasseter.")
        assert [s.item for s in said] == [2]

    def test_the_answer_and_the_query_state_nothing(self, task, graph):
        assert (
            self.read(task, graph, "Wanted: starring Robert De Niro.", "\\boxed{Brazil (1985)}")
            == []
        )

    def test_shares(self, task, graph):
        said = self.read(
            task, graph,
            "Brazil (1985): directed by Terry Gilliam; starring Audrey Tautou. Fits.",
        )  # fmt: skip
        assert shares_confirmed(said) == {
            "facts": 2, "facts_confirmed": 0.5, "verdicts": 1, "verdicts_confirmed": 1.0,
        }  # fmt: skip
        assert shares_confirmed([])["facts_confirmed"] is None


@pytest.fixture(scope="module")
def scored(task, graph, bpe_tokenizer):
    context = RewardContext(graph.bits, np.eye(4), k=1, no_box_ndcg=-0.5)
    reward = Reward(context, {"ndcg": 1.0, "qas": 0.2, "pas": 0.2, "format": 0.1})
    scorer = RolloutScorer(task, reward, TokenBytes(bpe_tokenizer))
    texts = [
        "Wanted: De Niro.\nBrazil (1985): starring Robert De Niro. Fits.\n\\boxed{Brazil (1985)}",
        "Toy Story (1995): <b>fun</b>.\nAmélie (2001) too 😀.\n\\boxed{Toy Story}",
        "I do not know.",
    ]
    ids = [bpe_tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    examples = [example(), example(truth=2, query_type="implicit"), example(truth=0)]
    return scorer.score(ids, examples), examples


class TestReport:
    def test_numbers(self, task, graph, scored):
        answers, examples = scored
        report = report_policy(
            answers, examples, StatementReader(task, graph), np.arange(3), Bootstrap(100, 0.95, 0)
        )
        assert report["accuracy"] == pytest.approx(1 / 3)
        assert report["well_formed"] == pytest.approx(2 / 3)
        # right: 1; Toy Story for Toy Story 2: shares its director, all it has; nothing boxed: 0
        assert report["qas"] == pytest.approx((1 + 1 + 0) / 3)
        assert report["pas"] == pytest.approx((1 + 0 + 0) / 3)
        # of 3 + 3 + 1 paragraphs, the one about Toy Story
        assert report["paragraphs_penalised"] == pytest.approx(1 / 7)
        assert report["by_type"]["implicit"]["accuracy"] == 0
        # the first candidate is right once, where nothing is answered, and is chosen never
        places = {"first_chosen": 0, "first_right": 1 / 3, "off_list": 1 / 3, "where_first": 0}
        within = {"right_within_2": 1 / 3, "right_within_3": 2 / 3, "right_within_5": 1}
        assert report["places"] == pytest.approx({**places, **within, "elsewhere": 0.5})

    def test_outcomes_add_up_to_the_report(self, task, graph, scored):
        answers, examples = scored
        statements = StatementReader(task, graph)
        rows = outcome_table(answers, examples, statements, [7, 7, 2]).assign(
            query_id=["a", "b", "c"]
        )
        assert rows["correct"].tolist() == [True, False, False]
        assert rows["boxed"].tolist() == [True, True, False]
        # "Brazil (1985): starring Robert De Niro. Fits." states one fact and one verdict.
        counts = ["facts_stated", "facts_confirmed", "verdicts_stated", "verdicts_true"]
        assert rows[counts].to_numpy().tolist() == [[1, 1, 1, 1], [0] * 4, [0] * 4]
        report = report_policy(
            answers, examples, statements, np.array([7, 7, 2]), Bootstrap(100, 0.95, 0)
        )
        assert (report["n"], report["clusters"]) == (3, 2)
        assert rows["cluster"].tolist() == [7, 7, 2]
        assert rows["correct"].mean() == report["accuracy"]
        assert rows["facts_stated"].sum() == report["faithfulness"]["facts"]
        Outcomes.validate(pd.concat([rows.assign(stage=s) for s in ("before", "after")]))

    @pytest.mark.parametrize(
        ("wrong", "check"),
        [
            ({"facts_confirmed": 2}, "no_more_true_than_stated"),
            ({"verdicts_true": 1}, "no_more_true_than_stated"),
            ({"stage": "during"}, "isin"),
            ({"query_type": "x"}, "isin"),
        ],
    )
    def test_outcomes_that_cannot_be_are_refused(self, wrong, check):
        row = {
            "query_id": "a", "query_type": "explicit", "cluster": 0, "stage": "after",
            "correct": True,
            "boxed": True, "facts_stated": 1, "facts_confirmed": 1, "verdicts_stated": 0,
            "verdicts_true": 0,
        }  # fmt: skip
        Outcomes.validate(pd.DataFrame([row]))
        with pytest.raises(SchemaError, match=check):
            Outcomes.validate(pd.DataFrame([{**row, **wrong}]))
        with pytest.raises(SchemaError, match="unique"):
            Outcomes.validate(pd.DataFrame([row, row]))

    def test_transcripts_say_what_happened(self, task, scored):
        answers, examples = scored
        shown = (
            examples,
            ["<query> one", "two", "three"],
            answers,
            answers,
            task.catalogue,
            [0, 1, 2],
        )
        entries = transcripts.transcribe(*shown)
        rows = transcripts.transcript_table(entries)
        assert rows["target"].tolist() == [TITLES[3], TITLES[2], TITLES[0]]
        assert rows["right_after"].tolist() == [True, False, False]
        assert rows["answer_after"].tolist() == ["Brazil (1985)", "Toy Story", "(nothing boxed)"]
        assert rows["reasoning_after"][1].split("\n")[0] == ">> Toy Story (1995): <b>fun</b>."
        assert not rows["reasoning_after"][1].split("\n")[1].startswith(">>")
        page = pages.transcripts_page("T & T", {}, METRICS, 0.95, entries)
        check_page(page, "T & T", links=set())
        assert "&lt;query&gt; one" in page and "<b>fun</b>" not in page
        assert page.count('class="paragraph penalised"') == 2  # before and after
        assert page.count("<article") == 3 and "<option>implicit</option>" in page

    def test_the_page_begins_with_the_accuracy(self):
        page = pages.transcripts_page("", {}, METRICS, 0.95, [])
        assert "0.250 before, 0.500 after\n(change +0.250)" in page
        assert "<td>0.500<small>0.125 to 0.875</small></td>" in page and "95 % interval" in page
        assert "<td>none</td><td>75.0%</td>" in page  # no fact stated before
        assert "LightGCN embeddings" in page  # what PAS is

    def test_examples_are_picked_by_seed_from_every_type(self, scored):
        _, examples = scored
        assert transcripts.pick(examples, 1, 0) == transcripts.pick(examples, 1, 0)
        assert {examples[n].query_type for n in transcripts.pick(examples, 1, 0)} == {
            "explicit",
            "implicit",
        }


class TestPlots:
    def test_accuracy_before_and_after(self):
        row = {"accuracy": 0.5, "n": 4, "interval": [0.25, 0.9]}
        metrics = {name: {**row, "by_type": {"explicit": row}} for name in ("before", "after")}
        figure = plots.accuracy_by_type({**metrics, "run": {"split": "validation"}})
        assert figure.layout.title.text == "Accuracy on the validation split"
        assert [bar.name for bar in figure.data] == ["before fine-tuning", "after fine-tuning"]
        assert list(figure.data[0].y) == [0.5, 0.5]
        assert list(figure.data[0].error_y.array) == pytest.approx([0.4, 0.4])

    @pytest.mark.parametrize("column", ["accuracy", "mean_token_accuracy"])
    def test_learning_curve_of_rl_and_of_the_supervised_control(self, column):
        figure = plots.learning_curve(pd.DataFrame({column: [0.0, 1.0, 1.0]}), 64, 2)
        assert list(figure.data[0].x) == [64, 128, 192]
        assert list(figure.data[1].y) == [0.0, 0.5, 1.0]

    def test_a_curriculum_that_was_not_used_is_said_to_be_so(self):
        empty = pd.DataFrame(columns=["epoch", "active", "mastered", "reviewed", "mean_difficulty"])
        assert "no curriculum" in plots.curriculum_by_epoch(empty).layout.annotations[0].text


class TestBySeed:
    runs = (
        Run("rerec", 0, 0.25, 0.65, 6_000_000, 150),
        Run("rerec", 1, 0.25, 0.75, 8_000_000, 170),
        Run("grpo", 0, 0.25, 0.60, 6_000_000, 150),
    )

    def test_table(self):
        lines = table(self.runs).splitlines()
        assert lines[2] == "| rerec | 0 | 0.250 | 0.650 | +0.400 | 6.00 M | 150 |"
        assert lines[4] == "| **rerec** | **mean** | 0.250 | 0.700 | +0.450 | 7.00 M | 160 |"
        assert len(lines) == 2 + 3 + 2
