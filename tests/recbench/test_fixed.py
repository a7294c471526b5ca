"""A user's own split and candidates."""

import json

import pytest

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.parameters import FixedParameters
from rerec_pipeline.recbench.candidates import Choice
from rerec_pipeline.recbench.fixed import read_fixed_candidates, read_fixed_splits
from rerec_pipeline.recbench.titles import ItemIndex
from tests.conftest import data_parameters, engineer

KNOWN = {"explicit-1", "explicit-2", "explicit-3", "explicit-4"}
SPLITS = "query_id,split\nexplicit-1,train\nexplicit-2,validation\nexplicit-3,test\n"
CATALOGUE = ItemIndex([10, 11, 12], ["A (1990)", "B, The (1991)", "C (1992)"])


class TestSplits:
    def test_they_are_used_as_they_are(self):
        assert read_fixed_splits(SPLITS, "s.csv", KNOWN) == {
            "explicit-1": "train", "explicit-2": "validation", "explicit-3": "test",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "where", "problem"),
        [
            ("query_id\nx\n", "field 'split'", "the column is missing"),
            (SPLITS + "explicit-9,train\n", "line 5", "no query has the id 'explicit-9'"),
            (SPLITS + "explicit-1,test\n", "line 5", "named twice"),
            (SPLITS + "explicit-4,dev\n", "line 5", "'dev' is none of train, validation, test"),
            (SPLITS + "explicit-4\n", "line 5", "expected 2 fields, found 1"),
            ("split,query_id,split\n", "field 'split'", "the column is named twice"),
            (SPLITS + '"explicit-4', "line 5", "not CSV"),
            (SPLITS.replace("test", "train"), "field 'split'", "no query is in test"),
        ],
    )
    def test_malformed(self, text, where, problem):
        with pytest.raises(BadInputError, match=problem) as caught:
            read_fixed_splits(text, "s.csv", KNOWN)
        assert where in str(caught.value)


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


class TestCandidates:
    def test_titles_and_ids_in_prompt_order(self):
        text = lines(
            {"query_id": "q1", "candidates": [12, "10", "The B (1991)"]},
            {"query_id": "other", "candidates": []},
            {"query_id": "q2", "candidates": ["A", "B, The (1991)"], "truth": 11},
        )
        choices = read_fixed_candidates(text, "c.jsonl", CATALOGUE, {"q1": [0], "q2": [0, 1]})
        assert choices == {"q1": Choice(0, (2, 0, 1)), "q2": Choice(1, (0, 1))}

    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            ({"candidates": [10, 11]}, "expected a text"),
            ({"query_id": "q", "candidates": [10]}, "two or more"),
            ({"query_id": "q", "candidates": [10, "Z"]}, "'Z' is no item"),
            ({"query_id": "q", "candidates": [10, "A"]}, "listed twice"),
            ({"query_id": "q", "candidates": [11, 12]}, "exactly one candidate"),
            ({"query_id": "q", "candidates": [10, 11], "truth": 11}, "exactly one candidate"),
            ({"query_id": "p", "candidates": [10, 11]}, "1 queries have no candidates"),
        ],
    )
    def test_malformed(self, row, problem):
        with pytest.raises(BadInputError, match=problem):
            read_fixed_candidates(lines(row), "c.jsonl", CATALOGUE, {"q": [0]})


def test_a_whole_data_set_with_a_split_and_candidates_of_ones_own(world_tables, tmp_path):
    data, drawn = world_tables
    chosen = drawn["prompts"].groupby("split").head(5)
    (tmp_path / "s.csv").write_text(chosen[["query_id", "split"]].to_csv(index=False))
    rows = [
        {"query_id": row.query_id, "candidates": [int(i) for i in row.candidate_ids[::-1]],
         "truth": int(row.truth_id)}
        for row in chosen.itertuples()
    ]  # fmt: skip
    (tmp_path / "c.jsonl").write_text(lines(*rows))
    fixed = FixedParameters(splits=str(tmp_path / "s.csv"), candidates=str(tmp_path / "c.jsonl"))
    prompts = engineer(data, str(tmp_path / "raw"), fixed)["prompts"]
    assert prompts["query_id"].tolist() == chosen["query_id"].tolist()
    assert prompts["split"].tolist() == chosen["split"].tolist()
    for new, old in zip(prompts["candidate_ids"], chosen["candidate_ids"], strict=True):
        assert list(new) == list(old)[::-1]


def test_histories_are_in_the_prompt_without_what_is_asked_for(tmp_path):
    tables = engineer(data_parameters(history=True), str(tmp_path))
    told = tables["histories"].merge(tables["queries"], on="query_id")
    known = told["history_ids"].map(len) > 0
    assert known.sum() > 0
    assert told["history_ids"].map(len).max() <= 10
    for row in told.to_dict("records"):
        assert not set(row["history_ids"]) & set(row["truth_ids"])
    prompts = tables["prompts"].set_index("query_id")
    assert all(
        ("I have seen" in prompts.loc[row["query_id"], "user"]) == (len(row["history_ids"]) > 0)
        for row in told.to_dict("records")
    )
    for row in told[known].to_dict("records"):
        assert not set(row["history_ids"]) & set(prompts.loc[row["query_id"], "candidate_ids"])
