"""The report of a policy: accuracy, form, closeness of its answers, faithfulness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rerec_pipeline.policy.rollouts import ScoredRollouts
from rerec_pipeline.recbench.task import Example
from rerec_pipeline.reporting.accuracy import summarise
from rerec_pipeline.reporting.faithfulness import StatementReader, shares_confirmed


def report_policy(
    scored: ScoredRollouts,
    examples: Sequence[Example],
    statements: StatementReader,
    samples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Everything measured of one policy on one set of queries.

    Args:
        scored: Its scored answers.
        examples: What it was asked.
        statements: Reads and checks reasoning.
        samples: Resamples of the bootstrap.
        confidence: Of its intervals.
        seed: Of its draws.

    Returns:
        ``accuracy``, ``n``, ``interval`` and ``by_type`` (see ``summarise``); ``well_formed``
        (share of boxed answers), ``qas`` and ``pas`` (means), ``tokens`` (mean length),
        ``paragraphs_penalised`` (share) and ``faithfulness``.
    """
    types = [example.query_type for example in examples]
    said = [
        statement
        for paragraphs, example in zip(scored.paragraphs, examples, strict=True)
        for statement in statements.read(paragraphs, example)
    ]
    paragraphs = sum(len(p) for p in scored.paragraphs)
    return {
        **summarise(scored.graded.correct, types, samples, confidence, seed),
        "well_formed": float(scored.graded.boxed.mean()),
        "qas": float(scored.scored.terms["qas"].mean()),
        "pas": float(scored.scored.terms["pas"].mean()),
        "tokens": float(np.mean([len(c.lengths) for c in scored.completions])),
        "paragraphs_penalised": sum(len(p) for p in scored.penalised) / max(paragraphs, 1),
        "faithfulness": shares_confirmed(said),
    }
