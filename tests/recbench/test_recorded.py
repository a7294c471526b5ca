"""Recorded answers as a choice among the candidates: by hand, and graded as the policy is."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.parameters import EvaluationParameters
from rerec_pipeline.pipelines.rft.nodes import build_task
from rerec_pipeline.pipelines.score_choices import nodes
from rerec_pipeline.recbench.tables import examples_from_table

EVALUATION = EvaluationParameters(
    batch_size=8, bootstrap_samples=100, confidence=0.95, seed=0, transcripts_per_type=1, limit=None
)


@pytest.fixture(scope="module")
def sample(world_tables):
    """(task, all prompts, test prompts) of the small film world."""
    data, tables = world_tables
    prompts = tables["prompts"]
    test = prompts[prompts["split"] == "test"].reset_index(drop=True)
    return build_task(tables["items"], data), prompts, test


def lines(responses: dict) -> str:
    return "\n".join(json.dumps({"id": i, "response": r}) for i, r in responses.items())


def grade(sample, responses):
    task, prompts, _ = sample
    return nodes.grade_choices(
        lines(responses).encode(), prompts, task, "answers.jsonl", EVALUATION
    )


def truths(test):
    return {
        i: f"So it is \\boxed{{{t}}}" for i, t in zip(test["query_id"], test["truth"], strict=True)
    }


class TestGrading:
    def test_the_right_answers_are_all_right(self, sample):
        test = sample[2]
        scores, report = grade(sample, truths(test))
        assert scores["correct"].all() and scores["boxed"].all()
        assert scores["answer"].tolist() == scores["truth"].tolist() == test["truth"].tolist()
        assert report["accuracy"] == 1.0 and report["interval"] == [1.0, 1.0]
        assert report["n"] == len(test) and report["well_formed"] == 1.0
        counts = test["query_type"].value_counts().to_dict()
        assert {t: row["n"] for t, row in report["by_type"].items()} == counts
        assert all(row["accuracy"] == 1.0 for row in report["by_type"].values())
        assert report["unanswered"] == {"n": 0, "by_type": {}, "accuracy_if_wrong": 1.0}

    def test_each_kind_of_answer_by_hand(self, sample):
        task, _, test = sample
        rows = test[test["query_type"] == "explicit"].head(5)
        examples = examples_from_table(rows, task.catalogue)
        wrong = task.catalogue.titles[
            next(c for c in examples[1].candidates if c != examples[1].truth)
        ]
        outside = next(
            t for i, t in enumerate(task.catalogue.titles) if i not in examples[2].candidates
        )
        said = [
            f"First \\boxed{{{wrong}}}, no: \\boxed{{{rows['truth'].iloc[0]}}}",
            f"\\boxed{{{wrong}}}",
            f"\\boxed{{{outside}}}",
            "\\boxed{A film that does not exist}",
            rows["truth"].iloc[4],  # right, but nothing is boxed
        ]
        scores, report = grade(sample, dict(zip(rows["query_id"], said, strict=True)))
        assert list(scores) == ["id", "query_type", "answer", "truth", "correct", "boxed"]
        assert scores["id"].tolist() == rows["query_id"].tolist()
        assert scores["correct"].tolist() == [True, False, False, False, False]
        assert scores["boxed"].tolist() == [True, True, True, True, False]
        assert scores["answer"].iloc[:4].tolist() == [
            rows["truth"].iloc[0], wrong, outside, "A film that does not exist",
        ]  # fmt: skip
        assert pd.isna(scores["answer"].iloc[4])
        assert (report["accuracy"], report["n"], report["well_formed"]) == (0.2, 5, 0.8)
        rest = test[~test["query_id"].isin(rows["query_id"])]
        assert report["unanswered"] == {
            "n": len(test) - 5,
            "by_type": rest["query_type"].value_counts().to_dict(),
            "accuracy_if_wrong": 1 / len(test),
        }

    @settings(deadline=None)
    @given(data=st.data())
    def test_the_order_of_the_answers_does_not_matter(self, sample, data):
        responses = truths(sample[2].head(12)) | {sample[2]["query_id"][0]: "no idea"}
        shuffled = dict(data.draw(st.permutations(list(responses.items()))))
        one, two = grade(sample, responses), grade(sample, shuffled)
        assert one[0].equals(two[0]) and one[1] == two[1]


class TestRefused:
    @pytest.mark.parametrize("split", ["train", "validation"])
    def test_an_answer_to_a_query_of_another_split(self, sample, split):
        query = sample[1].query("split == @split")["query_id"].iloc[0]
        with pytest.raises(BadInputError) as error:
            grade(sample, truths(sample[2]) | {query: "\\boxed{A}"})
        assert f"answers.jsonl, answer {len(sample[2]) + 1}" in str(error.value)
        assert f"the query '{query}' is in the {split} split" in str(error.value)
        assert "kedro run --pipelines export_prompts" in str(error.value)

    def test_an_unknown_query(self, sample):
        with pytest.raises(BadInputError, match="no query has the id 'explicit-x'"):
            grade(sample, {"explicit-x": "\\boxed{A}"})

    def test_a_query_answered_twice(self, sample):
        text = lines({sample[2]["query_id"][0]: "\\boxed{A}"})
        with pytest.raises(BadInputError, match="answer 2, field 'id'.*is answered twice"):
            nodes.grade_choices(
                f"{text}\n\n{text}".encode(), sample[1], sample[0], None, EVALUATION
            )

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('{"id": "explicit-1"}', "field 'response'"),
            ('{"response": "A"}', "field 'id'"),
            ('{"id": "explicit-1", "response": null}', "field 'response'"),
            ('{"id": "explicit-1", "response": ["A"]}', "field 'response'"),
            ("{", "line 1"),
            ("[]", "line 1"),
            ("", "no record"),
        ],
    )
    def test_malformed_answers(self, sample, text, problem):
        with pytest.raises(BadInputError, match=problem):
            nodes.grade_choices(text.encode(), sample[1], sample[0], "answers.jsonl", EVALUATION)


class TestExport:
    def test_it_asks_what_the_policy_is_asked_and_nothing_more(self, sample):
        task, prompts, test = sample
        exported = [json.loads(line) for line in nodes.export_prompts(prompts).splitlines()]
        assert exported == [
            {"id": example.query_id, "messages": example.messages}
            for example in examples_from_table(test, task.catalogue)
        ]
        assert [m["role"] for m in exported[0]["messages"]] == ["system", "user"]
