"""The parts of an answer as spans of an MLflow trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlflow
from mlflow.entities import SpanType

from rerec_pipeline.assistant.assistant import Answer, Assistant, Request

_TYPES = {
    "link": SpanType.PARSER,
    "retrieve": SpanType.RETRIEVER,
    "reason": SpanType.LLM,
    "check": SpanType.EVALUATOR,
}


@contextmanager
def open_span(name: str) -> Iterator[Any]:
    """A span of a part of an answer; its outputs are set by whoever does the part."""
    with mlflow.start_span(name, span_type=_TYPES[name]) as span:
        yield span


def traced(assistant: Assistant) -> Callable[[Sequence[Request]], list[Answer]]:
    """Lets an assistant leave a trace of every batch that it answers."""
    assistant.span = open_span

    def answer(requests: Sequence[Request]) -> list[Answer]:
        with mlflow.start_span("answer", span_type=SpanType.AGENT) as span:
            span.set_inputs([request.text for request in requests])
            answers = assistant.answer(requests)
            span.set_outputs([answer.as_dict()["items"] for answer in answers])
        return answers

    return answer
