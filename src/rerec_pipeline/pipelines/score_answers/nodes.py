"""Nodes of the score_answers pipeline: recorded answers of any model, scored the authors' way."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench import reading
from rerec_pipeline.recbench.open_ended import labelled_titles, score_file
from rerec_pipeline.recbench.raw import data_folder
from rerec_pipeline.recbench.records import QUERY_FILES


def read_labels(domain: str, raw_dir: str, query_type: str) -> dict[str, list[str]]:
    """Right titles of all queries of one type, from the published file."""
    path = data_folder(raw_dir, domain) / QUERY_FILES[query_type]
    if not path.is_file():
        raise BadInputError(
            path,
            "the file is missing",
            remedy="Set raw_dir to the folder that holds dataset/<domain>",
        )
    records = reading.read_json(reading.decode(path.read_bytes(), path), path)
    return labelled_titles(records, query_type, path)


def score_answers(
    recorded_answers: bytes,
    labels: dict[str, list[str]],
    answers: str,
    query_type: str,
    score_cuts: list[int],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scores every answer; gives the scores, and their means as a whole and cut at some ranks."""
    records = reading.read_json_lines(reading.decode(recorded_answers, answers), answers)
    scores = pd.DataFrame(score_file(records, labels, answers))
    means = {"all": _means(scores)}
    for k in score_cuts:
        means[f"at_{k}"] = _means(pd.DataFrame(score_file(records, labels, answers, k)))
    counts = {"answers": len(scores), "queries_without_answer": len(labels) - len(scores)}
    return scores, {query_type: {**counts, **means}}


def _means(scores: pd.DataFrame) -> dict[str, float]:
    return {str(name): float(value) for name, value in scores.drop(columns="id").mean().items()}
