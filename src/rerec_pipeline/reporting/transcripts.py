"""Sample transcripts: query, reasoning, answer, target, penalised paragraphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rerec_pipeline.recbench.task import Example
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.training.rollouts import ScoredRollouts


@dataclass(frozen=True)
class Answer:
    """One completion as it is shown.

    Attributes:
        paragraphs: Its text.
        penalised: Which of these are penalised.
        answer: What it boxed.
        right: Whether that is the target.
        qas: Query alignment score of the answer, 0 to 1.
        pas: Preference alignment score of the answer, -1 to 1.
    """

    paragraphs: tuple[str, ...]
    penalised: frozenset[int]
    answer: str
    right: bool
    qas: float
    pas: float


@dataclass(frozen=True)
class Transcript:
    """One query with the answers of the policy before and after fine-tuning."""

    query_id: str
    query_type: str
    query: str
    target: str
    before: Answer
    after: Answer


def transcribe(
    examples: Sequence[Example],
    texts: Sequence[str],
    before: ScoredRollouts,
    after: ScoredRollouts,
    catalogue: ItemIndex,
    rows: Sequence[int],
) -> list[Transcript]:
    """Transcripts of chosen queries.

    Args:
        examples: What was asked, N examples.
        texts: The queries' texts, N.
        before: N scored answers before fine-tuning.
        after: N scored answers after.
        catalogue: Titles of items.
        rows: Which of the N.
    """
    return [
        Transcript(
            query_id=examples[row].query_id,
            query_type=examples[row].query_type,
            query=texts[row],
            target=catalogue.titles[examples[row].truth],
            before=_answer(before, row),
            after=_answer(after, row),
        )
        for row in rows
    ]


def _answer(scored: ScoredRollouts, row: int) -> Answer:
    answer = scored.graded.answers[row].content
    return Answer(
        paragraphs=scored.paragraphs[row],
        penalised=frozenset(scored.penalised[row]),
        answer="(nothing boxed)" if answer is None else answer,
        right=bool(scored.graded.correct[row]),
        qas=float(scored.scored.terms["qas"][row]),
        pas=float(scored.scored.terms["pas"][row]),
    )


def pick(examples: Sequence[Example], per_type: int, seed: int) -> list[int]:
    """Positions of some examples of every query type, chosen by seed and not by outcome."""
    rng = np.random.default_rng(seed)
    picked: list[int] = []
    for query_type in dict.fromkeys(e.query_type for e in examples):
        rows = [n for n, e in enumerate(examples) if e.query_type == query_type]
        picked += sorted(rng.permutation(rows)[:per_type].tolist())
    return picked


def changes(
    before: ScoredRollouts, after: ScoredRollouts, most: int
) -> tuple[list[int], list[int]]:
    """Rows of the answers that became right, and that became wrong, largest change first.

    Args:
        before: Scored answers before fine-tuning.
        after: Scored answers to the same queries after.
        most: Rows of each at most.

    Returns:
        Gains by how much the reward rose, losses by how much it fell; ties in the given order.
    """
    rise = after.scored.total - before.scored.total
    was, is_ = before.graded.correct, after.graded.correct

    def first(rows: np.ndarray, by: np.ndarray) -> list[int]:
        order = np.argsort(-by[rows], kind="stable")
        return [int(row) for row in rows[order][:most]]

    return first(np.flatnonzero(is_ & ~was), rise), first(np.flatnonzero(was & ~is_), -rise)


def transcript_table(transcripts: Sequence[Transcript]) -> pd.DataFrame:
    """One row per transcript; penalised paragraphs are marked with a leading ``>> ``."""
    return pd.DataFrame(
        {
            "query_id": entry.query_id,
            "query_type": entry.query_type,
            "query": entry.query,
            "target": entry.target,
            **_columns("before", entry.before),
            **_columns("after", entry.after),
        }
        for entry in transcripts
    )


def _columns(stage: str, answer: Answer) -> dict[str, str | bool]:
    reasoning = (
        f">> {text}" if n in answer.penalised else text for n, text in enumerate(answer.paragraphs)
    )
    return {
        f"answer_{stage}": answer.answer,
        f"right_{stage}": answer.right,
        f"reasoning_{stage}": "\n".join(reasoning),
    }
