"""Why a run did or did not learn: each rule speaks where it should and is silent elsewhere."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from rerec_pipeline.parameters import DiagnosisParameters
from rerec_pipeline.reporting.diagnosis_plots import PANELS, training_plots, was_measured
from rerec_pipeline.reporting.findings import RunRecord, examine
from rerec_pipeline.reporting.pages import diagnosis_page
from rerec_pipeline.reporting.transcripts import Answer, Transcript, changes
from tests.reporting.test_pages import check_page

CONF = Path(__file__).parents[2] / "conf/base/parameters_diagnosis.yml"
SETTINGS = DiagnosisParameters(**yaml.safe_load(CONF.read_text())["diagnosis"])
STEPS = 40

#: A run that learns and shows nothing remarkable.
HEALTHY = {
    "loss": 0.1, "grad_norm": 0.3,
    "reward": np.linspace(0.2, 0.9, STEPS), "accuracy": np.linspace(0.1, 0.6, STEPS),
    "completions/clipped_ratio": 0.0, "completions/mean_length": 30.0,
    "entropy": np.linspace(0.4, 0.2, STEPS), "kl": np.linspace(0.0, 0.2, STEPS),
    "clip_ratio/region_mean": 0.01, "raae/penalised_token_share": 0.2,
    "diagnosis/no_spread": 0.1, "diagnosis/none_right": 0.05, "diagnosis/all_right": 0.05,
    "diagnosis/wrong_above_right": 0.0,
    "diagnosis/weighted_term/ndcg": 0.4, "diagnosis/weighted_term/qas": 0.1,
    "diagnosis/variance_share/ndcg": 0.8, "diagnosis/variance_share/qas": 0.2,
    "diagnosis/penalised_advantage_share": 0.2, "diagnosis/not_boxed": 0.0,
    "diagnosis/not_listed": 0.0,
    "diagnosis/largest_advantage": 3.0,
    "diagnosis/reward_of_right": 1.4, "diagnosis/reward_of_wrong": 0.1,
    "diagnosis/returned": 0.25, "diagnosis/forgotten": 0.1,
    "curriculum/epoch": np.repeat([0.0, 1.0], STEPS // 2),
}  # fmt: skip
QUERIES = 60


def record(w_penalty=0.3, gained=20, lost=2, clusters=None, **changed):
    before = np.zeros(QUERIES, dtype=bool)
    before[:10] = True
    after = before.copy()
    after[:lost] = False
    after[10 : 10 + gained] = True
    log = pd.DataFrame({**HEALTHY, **changed}, index=range(STEPS))
    own = np.arange(QUERIES) if clusters is None else clusters
    return RunRecord(log, before, after, own, w_penalty, 80, SETTINGS.window, 999)


def found(run):
    return {f.rule: f for f in examine(run, SETTINGS.limits).findings}


#: What is changed -> the one rule that then speaks, and what it says.
SPEAKING = {
    "chance": ({"gained": 3, "lost": 2}, "3 answers became right, 2 became wrong, which may be"),
    "hacking_rise": (
        {"accuracy": np.repeat([0.6, 0.4], STEPS // 2)},
        "Reward rose by 0.36 while accuracy fell by 0.20 between steps 6 and 26",
    ),
    "no_spread": (
        {"diagnosis/no_spread": 0.41, "diagnosis/none_right": 0.4},
        "41% of groups had no reward spread: only penalised paragraphs give a gradient. In 40% of",
    ),
    "wrong_above_right": ({"diagnosis/wrong_above_right": 0.03}, "In 3.0% of groups"),
    "shaping_variance": ({"diagnosis/variance_share/qas": 0.6}, "made 60% of the variance"),
    "penalised_advantage_share": (
        {"diagnosis/penalised_advantage_share": 0.9}, "20% of the tokens, had 90% of all absolute",
    ),
    "largest_advantage": (
        {"diagnosis/largest_advantage": np.repeat([30.0, 150.0], STEPS // 2)},
        "was 90.0 on average and 150.0 at most, in absolute value",
    ),
    "not_boxed": (
        {"diagnosis/not_boxed": np.repeat([0.0, 0.2], STEPS // 2)},
        "20.0% of rollouts boxed no answer at the end (0.0% at the beginning)",
    ),
    "not_listed": ({"diagnosis/not_listed": 0.06}, "6.0% of rollouts answered with no"),
    "at_limit": ({"completions/clipped_ratio": 0.5}, "50.0% of completions were truncated at 80"),
    "length_factor": (
        {"completions/mean_length": np.repeat([60.0, 20.0], STEPS // 2)}, "60 tokens on average",
    ),
    "entropy_kept": (
        {"entropy": np.repeat([1.0, 0.05], STEPS // 2)}, "1.000 to 0.050 nats a token: 5% of it",
    ),
    "kl": ({"kl": 1.5}, "KL to the reference policy was 1.500"),
    "clipped": ({"clip_ratio/region_mean": 0.3}, "clipped at 30.0% of tokens"),
    "not_finite": (
        {"loss": [0.1, np.nan] + [0.1] * (STEPS - 2)}, "not finite in 1 of 40 steps, first in [2]",
    ),
    "returned": ({"diagnosis/returned": 0.6}, "60% of visits were to queries"),
    "forgotten": ({"diagnosis/forgotten": 0.5}, "50% of mastered queries were no longer"),
}  # fmt: skip


class TestRules:
    def test_nothing_to_say_of_a_healthy_run(self):
        diagnosis = examine(record(), SETTINGS.limits)
        assert diagnosis.problems == () and diagnosis.not_measured == ()
        assert {f.rule for f in diagnosis.findings} == set(SPEAKING)

    @pytest.mark.parametrize("rule", SPEAKING)
    def test_each_speaks_alone_where_its_number_is_beyond_the_limit(self, rule):
        changed, said = SPEAKING[rule]
        run = record(**changed)
        speaking = examine(run, SETTINGS.limits).problems
        assert [f.rule for f in speaking] == [rule]
        assert said in speaking[0].sentence and speaking[0].advice

    def test_without_a_penalty_a_group_without_spread_teaches_nothing(self):
        assert "they give no gradient" in found(record(w_penalty=0.0))["no_spread"].sentence

    def test_losses_speak_however_sure_they_are(self):
        finding = found(record(gained=0, lost=10))["chance"]
        assert finding.is_problem and "more than chance explains" in finding.sentence

    def test_where_nothing_is_finite_it_says_so(self):
        finding = found(record(loss=np.nan))["not_finite"]
        assert finding.value == 1 and "in 40 of 40 steps, first in [1, 2, 3, 4, 5]" in (
            finding.sentence
        )

    def test_reward_and_accuracy_that_fall_together_are_no_hacking(self):
        fall = {"reward": np.linspace(0.9, 0.2, STEPS), "accuracy": np.linspace(0.6, 0.1, STEPS)}
        assert not found(record(**fall))["hacking_rise"].is_problem

    def test_a_run_shorter_than_a_stretch_has_no_parting(self):
        run = record()
        short = replace(run, log=run.log[:3])
        assert not found(short)["hacking_rise"].is_problem

    def test_steps_between_generations_have_no_values_and_change_nothing(self):
        gaps = np.where(np.arange(STEPS) % 2, np.nan, 0.41)
        finding = found(record(**{"diagnosis/no_spread": gaps}))["no_spread"]
        assert finding.value == pytest.approx(0.41) and finding.is_problem

    def test_answers_of_one_cluster_change_once(self):
        """Five answers became right: as five, 2 of 32 sign flips go as far; as one, all do."""
        own, one = np.arange(QUERIES), np.r_[np.arange(10), np.full(QUERIES - 10, 99)]
        for clusters, p in ((own, 2 / 32), (one, 1.0)):
            finding = found(record(gained=5, lost=0, clusters=clusters))["chance"]
            assert finding.value == p and finding.is_problem

    def test_forgotten_queries_are_counted_by_visit(self):
        """Of 0.1 and 0.3 of the visits, half and all were forgotten: 0.35 of 0.4."""
        half = {
            "diagnosis/returned": np.repeat([0.1, 0.3], STEPS // 2),
            "diagnosis/forgotten": np.repeat([0.5, 1.0], STEPS // 2),
        }
        assert found(record(**half))["forgotten"].value == pytest.approx(0.35 / 0.4)

    def test_a_supervised_run_has_only_what_it_logs(self):
        run = record()
        log = pd.DataFrame({"loss": [0.5] * 9, "mean_token_accuracy": 0.9, "entropy": 0.01})
        supervised = replace(run, log=log)
        diagnosis = examine(supervised, SETTINGS.limits)
        assert {f.rule for f in diagnosis.findings} == {"chance", "not_finite"}
        assert len(diagnosis.not_measured) == len(SPEAKING) - 2
        assert "reward spread of groups" in diagnosis.not_measured

    def test_report_is_plain_and_has_those_that_speak_first(self):
        report = examine(record(**{"kl": 1.5}), SETTINGS.limits).report()
        assert report["problems"] == 1 and next(iter(report["findings"])) == "kl"
        assert report["findings"]["kl"]["value"] == pytest.approx(1.5)


class Scored:
    """As much of scored answers as changes are found by."""

    def __init__(self, right, total):
        self.graded = type("Graded", (), {"correct": np.array(right, dtype=bool)})
        self.scored = type("Scored", (), {"total": np.array(total)})


class TestChanges:
    before = Scored([0, 1, 0, 1, 0, 1], [0.5, 1.4, -0.1, 1.4, 0.2, 1.4])
    after = Scored([1, 0, 1, 1, 0, 0], [1.4, 0.3, 1.4, 1.4, 0.4, -0.6])

    def test_largest_first(self):
        assert changes(self.before, self.after, 10) == ([2, 0], [5, 1])

    def test_no_more_than_asked_for(self):
        assert changes(self.before, self.after, 1) == ([2], [5])


BOXES = r"\boxed{" * 60
GAIN = Transcript(
    "q<1>", "explicit", "<b>query</b>", "Brazil & more",
    Answer(("<i>reasoning</i>", BOXES), frozenset({0}), BOXES, False, 0.25, -0.5),
    Answer(("Brazil.",), frozenset(), "Brazil & more", True, 1.0, 1.0),
)  # fmt: skip


def page_of(run):
    plots = training_plots(run.log, SETTINGS.window)
    links = {"Transcripts": "transcripts.html"}
    return diagnosis_page("A & B", links, examine(run, SETTINGS.limits), plots, 10, [GAIN], [])


@pytest.fixture(scope="module")
def page():
    """The page of a healthy run."""
    return page_of(record())


class TestPage:
    def test_it_is_a_page_like_the_others(self, page):
        check_page(page, "A & B", links={"transcripts.html"})
        assert page.count("<figure") == len(PANELS) - 3  # no difficulties, not supervised

    def test_a_long_run_makes_no_large_page(self):
        run = record()
        log = pd.concat([run.log] * 250, ignore_index=True)  # 10,000 steps
        noise = np.random.default_rng(0).uniform(0.5, 1, log.shape)
        epochs = {"curriculum/epoch": np.repeat(np.arange(50), 200)}
        page = page_of(replace(run, log=(log * noise).assign(**epochs)))
        check_page(page, "A & B", links={"transcripts.html"})
        assert len(page) > 200_000

    def test_it_says_that_there_is_nothing_to_report(self, page):
        assert "Nothing to report" in page
        assert page.count("<article") == 1 and "Right before, wrong after: no answer." in page

    def test_a_transcript_is_escaped_and_whole(self, page):
        article = page[page.index("<article") : page.index("</article>")]
        assert "&lt;b&gt;query" in article and 'Target: <span class="right">Brazil &amp;' in article
        assert (
            article.count(r"\boxed{") == 120 and article.count('class="paragraph penalised"') == 1
        )
        assert 'data-before="wrong" data-after="right"' in article
        assert "QAS 0.25 &middot; PAS -0.50" in article

    def test_what_speaks_stands_first(self):
        page = page_of(record(**{"kl": 1.5}))
        assert "Nothing to report" not in page
        assert page.index("KL to the reference policy was 1.500") < page.index("<h3>In order")

    def test_values_and_limits_have_units(self, page):
        rows = re.findall(r"<td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td></tr>", page)
        units = {unit for *_, unit in rows}
        assert units == {"%", "p value", "reward", "times", "nats per token", "advantage"}
        assert ("10.0%", "40.0%", "%") in rows  # groups without spread

    def test_what_was_not_measured_is_named(self, page):
        assert "Not measured in this run: Difficulty of the queries served, Loss of" in page

    def test_the_supervised_control_has_its_own_plot(self):
        log = pd.DataFrame({"loss": [0.5, 0.4], "mean_token_accuracy": [0.8, 0.9]})
        plots = training_plots(log, 10)
        assert [n for n, figure in plots.items() if was_measured(figure)] == [
            "supervised", "token_accuracy",
        ]  # fmt: skip
        run = replace(record(), log=log)
        page = diagnosis_page("", {}, examine(run, SETTINGS.limits), plots, 10, [], [])
        assert "this run, which is supervised and made no rollouts: reward against accuracy" in page

    def test_terms_are_found_by_their_prefix(self):
        terms = training_plots(record().log, 10)["terms"]
        assert [line.name for line in terms.data if line.name] == ["ndcg", "qas"]
        assert list(terms.data[1].y) == pytest.approx([0.4] * STEPS)
