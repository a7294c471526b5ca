"""Nodes of export_prompts and score_choices: ask and grade another model as the policy is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rerec_pipeline.parameters import EvaluationParameters
from rerec_pipeline.recbench import reading
from rerec_pipeline.recbench.recorded import answers_to_test, choice_rows
from rerec_pipeline.recbench.tables import examples_from_table, messages_of
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.reporting.accuracy import summarise


def export_prompts(prompts: pd.DataFrame) -> str:
    """The test prompts as JSON lines: ``id`` of the query and ``messages`` as the policy gets."""
    test = prompts[prompts["split"] == "test"].to_dict("records")
    lines = ({"id": row["query_id"], "messages": messages_of(row)} for row in test)
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


def grade_choices(
    recorded_answers: bytes,
    prompts: pd.DataFrame,
    task: RecTask,
    answers: str | None,
    evaluation: EvaluationParameters,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Grades every answer as a choice among the query's candidates, and reports the accuracy.

    Args:
        recorded_answers: Content of the file of answers.
        prompts: Prompts of all splits.
        task: Reads answers.
        answers: Name of that file, for errors.
        evaluation: Settings of the intervals.

    Returns:
        A row for each answer (see ``choice_rows``), and the report.

    Raises:
        BadInputError: If an answer is malformed or belongs to no test query.
    """
    source = answers or "recorded_answers"
    splits = dict(zip(prompts["query_id"], prompts["split"], strict=True))
    records = reading.read_json_lines(reading.decode(recorded_answers, source), source)
    responses = answers_to_test(records, splits, source)
    test = prompts[prompts["split"] == "test"]
    answered = test["query_id"].isin(responses)
    examples = examples_from_table(test[answered], task.catalogue)
    graded = task.grade([responses[example.query_id] for example in examples], examples)
    scores = pd.DataFrame(choice_rows(graded, examples, task.catalogue))
    clusters = test.loc[answered, "cluster"].to_numpy()
    return scores, _report(scores, clusters, test.loc[~answered, "query_type"], evaluation)


def _report(
    scores: pd.DataFrame,
    clusters: NDArray[np.int64],
    unanswered: pd.Series,
    evaluation: EvaluationParameters,
) -> dict[str, Any]:
    """Accuracy over the answered queries, and how many queries have no answer."""
    correct = scores["correct"].to_numpy(dtype=np.bool_)
    return {
        **summarise(correct, scores["query_type"].tolist(), clusters, evaluation.bootstrap),
        "well_formed": float(scores["boxed"].mean()),
        "unanswered": {
            "n": len(unanswered),
            "by_type": {str(t): int(n) for t, n in unanswered.value_counts(sort=False).items()},
            "accuracy_if_wrong": float(correct.sum() / (len(scores) + len(unanswered))),
        },
    }
