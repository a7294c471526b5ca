"""Asks questions with known answers and scores them with MLflow's evaluation; no model judges."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any
from unittest.mock import patch

import mlflow
from mlflow.entities import SpanType
from mlflow.genai.scorers import scorer

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.errors import ReRecError
from rerec_pipeline.tracking.tracing import open_span
from rerec_pipeline.tracking.tracker import Tracker


@scorer
def right(outputs: Mapping[str, Any], expectations: Mapping[str, Any]) -> bool:
    """Whether the first item is the right one."""
    return bool(outputs["items"]) and outputs["items"][0]["title"] == expectations["title"]


@scorer
def faithful(outputs: Mapping[str, Any]) -> float | None:
    """Share of the reasoning's statements that the graph confirms, among those it can decide.

    None where the graph can decide none of them.
    """
    found = [fact["status"] for fact in outputs["facts"] if fact["status"] != "unknown"]
    return found.count("confirmed") / len(found) if found else None


@scorer
def among_candidates(outputs: Mapping[str, Any], expectations: Mapping[str, Any]) -> bool:
    """Whether every recommended item is one of the candidates."""
    return {item["title"] for item in outputs["items"]} <= set(expectations["candidates"])


def judge(assistant: Assistant, questions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Asks questions and scores the answers; questions, traces and scores go to the active run.

    Args:
        assistant: Who is asked; from now on it leaves spans in MLflow's traces.
        questions: Mappings with ``request`` (text), ``history`` and ``candidates`` (item indices)
            and ``truth`` (title).

    Returns:
        The mean of each score, by its name.

    Raises:
        ReRecError: If no MLflow run is active, or MLflow does not answer.
    """
    tracker = Tracker.current
    if tracker is None:
        raise ReRecError("MLflow does the evaluation, and no MLflow run is active")
    if tracker.problem:
        raise ReRecError(f"MLflow does the evaluation, and does not answer: {tracker.problem}")
    titles = assistant.task.catalogue.titles
    assistant.span = open_span

    def predict(request: str, history: list[int], candidates: list[int]) -> dict[str, Any]:
        with mlflow.start_span("answer", span_type=SpanType.AGENT):
            answer = assistant.ask(request, history=history, candidates=candidates)
        return answer.as_dict()

    data = [
        {
            "inputs": {key: question[key] for key in ("request", "history", "candidates")},
            "expectations": {
                "title": question["truth"],
                "candidates": [titles[n] for n in question["candidates"]],
            },
        }
        for question in questions
    ]
    # One worker, because the model uses all cores already. What MLflow prints at the end is
    # dropped: our own last lines say it.
    one_worker = patch.dict(os.environ, {"MLFLOW_GENAI_EVAL_MAX_WORKERS": "1"})
    with one_worker, redirect_stdout(io.StringIO()):
        result = mlflow.genai.evaluate(
            data=data, scorers=[right, faithful, among_candidates], predict_fn=predict
        )
    mlflow.flush_trace_async_logging()
    return {name.removesuffix("/mean"): float(mean) for name, mean in result.metrics.items()}
