"""Queries without a list: labels, lists and answers by hand, and that labels choose no item."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.parameters import EvaluationParameters, OpenEndedParameters
from rerec_pipeline.pipelines.open_ended import nodes
from rerec_pipeline.recbench.open_ended import published_labels, score_rows
from rerec_pipeline.recbench.schemas import OpenEndedScores, PublishedLabels
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.reporting import plots

RULE = OpenEndedParameters(length=2, recorded=None, recorded_type="demographics")
EVALUATION = EvaluationParameters(
    batch_size=8, bootstrap_samples=200, confidence=0.95, seed=0, transcripts_per_type=1, limit=None
)
ITEMS = pd.DataFrame(
    {
        "item_id": [11, 12, 13, 14],
        "raw_id": ["11", "12", "13", "14"],
        "title": ["Glass Harbor, The (1990)", "Night Train to Lisbon (1991)", "Twin", "Twin"],
    }
)
CONDITION = [
    {"data_idx": 7, "movieSubset": ["The Glass Harbor (1990)"], "label_complete": False},
    {"data_idx": 9, "movieSubset": ["Night Train to Lisbon (1991)"]},
]
PROFILE = [{"data_idx": 5, "query & ground true": [{}, {"movie subset": ["Twin"]}]}]


@pytest.fixture
def labels():
    rows = published_labels(CONDITION, "explicit", "f")
    return pd.DataFrame(rows + published_labels(PROFILE, "demographics", "f"))


class TestLabels:
    def test_every_id_of_a_query(self, labels):
        table = PublishedLabels.validate(labels)
        assert table["query_id"].tolist() == ["explicit-7", "explicit-9", "demographics-5-0"]
        assert table["answer_id"].tolist() == ["7", "9", "0-0"]
        assert table["label_complete"].tolist() == [False, True, True]

    def test_they_go_by_the_ids_of_the_queries(self, world_tables):
        data, tables = world_tables
        raw = str(next(iter(tables["manifest"].values()))["path"]).partition("/dataset/")[0]
        table = PublishedLabels.validate(nodes.read_published_labels(data.domain, raw))
        assert set(tables["queries"]["query_id"]) <= set(table["query_id"])


class TestRecorded:
    def write(self, tmp_path, name="movie-UserBasedQuery_Some-1.5-model-prediction", id_="0-0"):
        line = {"id": id_, "response": "Twin [SEP] Night Train to Lisbon"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line))
        return RULE.model_copy(update={"recorded": str(tmp_path)})

    @pytest.mark.parametrize(
        ("file", "model"),
        [
            ("movie-UserBasedQuery_gpt-4o-mini-prediction", "gpt-4o-mini"),
            ("movie-UserBasedQuery_DeepSeek-R1-historyFalse-Batch-0_output", "DeepSeek-R1"),
            ("my_model", "my_model"),
        ],
    )  # fmt: skip
    def test_a_file_is_a_model(self, tmp_path, labels, file, model):
        found = nodes.read_recorded(self.write(tmp_path, file), labels)
        assert found.to_dict("records") == [
            {"query_id": "demographics-5-0", "system": model,
             "response": "Twin [SEP] Night Train to Lisbon"}
        ]  # fmt: skip

    def test_none(self, labels):
        assert nodes.read_recorded(RULE, labels).empty

    def test_what_is_wrong_is_said(self, tmp_path, labels):
        config = RULE.model_copy(update={"recorded": str(tmp_path)})
        with pytest.raises(BadInputError, match=r"no \*\.jsonl file.*open_ended\.recorded"):
            nodes.read_recorded(config, labels)
        with pytest.raises(BadInputError, match="no such folder"):
            nodes.read_recorded(config.model_copy(update={"recorded": f"{tmp_path}/x"}), labels)
        with pytest.raises(BadInputError, match="no query has the id '3-0'"):
            nodes.read_recorded(self.write(tmp_path, id_="3-0"), labels)


@pytest.fixture
def retrieved():
    return pd.DataFrame(
        {
            "query_id": ["explicit-7", "explicit-9", "explicit-7"],
            "system": ["graph", "graph", "bm25"],
            "item_ids": [np.array([11, 12, 14]), np.array([11, 12]), np.array([13, 12, 11])],
            "chosen_id": [11, 11, 13],
        }
    )


def test_retrieval_answers_as_one_says_titles(retrieved):
    answers = nodes.answer_by_retrieval(retrieved, ITEMS, RULE)
    assert answers["response"].tolist() == [
        "The Glass Harbor (1990) [SEP] Night Train to Lisbon (1991)",
        "The Glass Harbor (1990) [SEP] Night Train to Lisbon (1991)",
        "Twin [SEP] Night Train to Lisbon (1991)",
    ]


class TestReport:
    @pytest.fixture
    def scores(self, retrieved, labels):
        answers = nodes.answer_by_retrieval(retrieved, ITEMS, RULE)
        recorded = nodes.read_recorded(RULE, labels)
        return OpenEndedScores.validate(nodes.score_retrieval(answers, recorded, labels, [1]))

    def test_by_hand(self, scores):
        """ "The Glass Harbor" is 32/39 = .82 alike with its year, "Night Train to Lisbon" .86."""
        graph = scores.query("system == 'graph'").set_index(["query_id", "cut"])
        assert graph.loc[("explicit-7", 0), ["recall", "precision", "ndcg"]].tolist() == [1, 0.5, 1]
        second = graph.loc[("explicit-9", 0)]
        assert second["ndcg"] == pytest.approx(1 / np.log2(3))
        assert graph.loc[("explicit-9", 1), "recall"] == 0

    def test_systems_are_compared_on_what_all_answered(self, scores, labels):
        splits = pd.DataFrame({"query_id": ["explicit-7", "explicit-9"], "cluster": [3, 4]})
        known = (scores, labels, splits, RULE, EVALUATION, "test")
        row = nodes.report_retrieval_alone(*known)["by_type"]["explicit"]
        assert (row["n"], row["clusters"]) == (1, 1)  # bm25 did not answer explicit-9
        assert row["systems"]["graph"]["recall"] == 1 and row["systems"]["bm25"]["recall"] == 0
        assert row["systems"]["graph"]["at_1"] == {"recall": 1, "precision": 1, "ndcg": 1}

    def test_recorded_answers_to_no_query_that_is_asked_are_refused(self, retrieved, labels):
        answers = nodes.answer_by_retrieval(retrieved, ITEMS, RULE)
        recorded = pd.DataFrame(
            {"query_id": ["explicit-8"], "system": ["other"], "response": ["Twin"]}
        )
        with pytest.raises(BadInputError, match=r"recorded: other: none of these answers"):
            nodes.score_retrieval(answers, recorded, labels, [1])

    def test_systems_without_a_common_query_are_refused(self, scores, labels):
        splits = pd.DataFrame({"query_id": ["explicit-7", "explicit-9"], "cluster": [3, 4]})
        apart = scores[
            ((scores["system"] == "graph") & (scores["query_id"] == "explicit-9"))
            | (scores["system"] == "bm25")
        ]
        with pytest.raises(BadInputError, match=r"no explicit query .* every system \(.*bm25.*\)"):
            nodes.report_retrieval_alone(apart, labels, splits, RULE, EVALUATION, "test")

    def test_incomplete_labels_are_not_comparable(self, scores, labels):
        splits = pd.DataFrame({"query_id": ["explicit-7", "explicit-9"], "cluster": [3, 4]})
        known = (labels, splits, RULE, EVALUATION, "test")
        only = scores.query("system == 'graph'")
        report = nodes.report_retrieval_alone(only, *known)
        row = report["by_type"]["explicit"]
        assert not row["comparable"] and row["labels_complete"] == 0.5
        whole = only.query("query_id == 'explicit-9'")
        assert nodes.report_retrieval_alone(whole, *known)["by_type"]["explicit"]["comparable"]
        figure = plots.open_ended_by_type(report)
        assert figure.data[0].name == "graph"
        assert figure.data[0].y[0] == pytest.approx((1 + 1 / np.log2(3)) / 2)
        assert figure.data[0].x[0] == "explicit (labels in part), n = 2"


def test_an_answer_has_its_measures_at_each_cut():
    rows = list(score_rows("A [SEP] Night Train to Lisbon", ["Night Train to Lisbon (1991)"], [1]))
    assert [(row["cut"], row["recall"]) for row in rows] == [(0, 1), (1, 0)]


class TestPolicy:
    @pytest.fixture
    def known(self, world_tables, monkeypatch):
        data, tables = world_tables
        monkeypatch.setattr(nodes, "check_pretraining", lambda *_: None)
        monkeypatch.setattr(nodes, "within_limit", lambda prompts, *_: prompts)
        items = tables["items"]
        ids = items["item_id"].tolist()
        test = tables["prompts"].query("split == 'test'")["query_id"]
        retrieved = pd.DataFrame(
            {
                "query_id": test, "system": "graph",
                "item_ids": [np.roll(ids, n)[:30] for n in range(len(test))],
            }
        )  # fmt: skip
        return data, tables, retrieved, RecTask(catalogue(items), data.prompt)

    def word(self, known, **changes):
        data, tables, retrieved, task = known
        names = ("queries", "splits", "mentions", "histories", "items", "attribute_graph",
                 "prompts")  # fmt: skip
        frames = [{**tables, **changes}[name] for name in names]
        rft = SimpleNamespace(backbone=None, generation=None)
        record = {"name_or_path": "any"}
        return nodes.word_lists(retrieved, *frames, task, record, data, rft, "sample_movie")

    def test_the_list_is_what_was_found(self, known):
        worded = self.word(known)
        found = known[2].set_index("query_id")["item_ids"]
        for row in worded.itertuples():
            assert set(row.candidate_ids) == set(found[row.query_id][:20].tolist())

    def test_in_the_order_of_the_graph_where_prompts_are(self, known):
        data = known[0]
        prompt = data.prompt.model_copy(update={"order": "graph"})
        ordered = (data.model_copy(update={"prompt": prompt}), *known[1:])
        found = known[2].set_index("query_id")["item_ids"]
        for row in self.word(ordered).itertuples():
            assert row.candidate_ids == found[row.query_id][:20].tolist()

    def test_labels_choose_no_item_and_no_place(self, known):
        queries, prompts = known[1]["queries"].copy(), known[1]["prompts"].copy()
        other = int(known[1]["items"]["item_id"].iloc[-1])
        queries["truth_ids"] = [[other]] * len(queries)
        prompts["truth_id"] = other
        told, again = self.word(known), self.word(known, queries=queries, prompts=prompts)
        assert told["user"].tolist() == again["user"].tolist()
        assert (again["truth_id"] == other).all()

    def test_the_policy_comes_first_and_retrieval_behind_it(self, known):
        task, retrieved = known[3], known[2]
        worded = self.word(known)
        found = retrieved.set_index("query_id")["item_ids"]
        titles = known[1]["items"].set_index("item_id")["title"]
        third = [titles[found[name][2]] for name in worded["query_id"]]
        before = pd.DataFrame({"completion": ["no idea"] * len(worded)})
        after = pd.DataFrame({"completion": [f"\\boxed{{{title}}}" for title in third]})
        config = RULE.model_copy(update={"length": 4})
        table = nodes.answer_by_policy(worded, before, after, retrieved, task, config)
        of = table.set_index(["system", "query_id"])["response"]
        name = worded["query_id"].iloc[0]
        said = [nodes.join_titles(task.catalogue.indices([i]), task.catalogue)
                for i in found[name][:4]]  # fmt: skip
        assert of["graph + before", name].split(" [SEP] ") == said
        assert of["graph + after", name].split(" [SEP] ") == [said[2], said[0], said[1], said[3]]


def catalogue(items: pd.DataFrame) -> ItemIndex:
    return ItemIndex(items["item_id"].tolist(), items["title"].tolist(), items["raw_id"].tolist())
