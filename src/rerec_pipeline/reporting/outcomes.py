"""Outcome of each query: the rows from which runs are compared."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from rerec_pipeline.recbench.task import Example
from rerec_pipeline.reporting.faithfulness import Statement, StatementReader, checks
from rerec_pipeline.training.rollouts import ScoredRollouts


def outcome_table(
    scored: ScoredRollouts,
    examples: Sequence[Example],
    statements: StatementReader,
    clusters: Sequence[int],
) -> pd.DataFrame:
    """One row per query: whether the answer is right, and how much of the reasoning is true.

    Args:
        scored: A policy's scored answers.
        examples: What it was asked, in the same order.
        statements: Reads and checks reasoning.
        clusters: Cluster of each query.

    Returns:
        query_id, query_type, cluster, correct, boxed, facts_stated, facts_confirmed,
        verdicts_stated, verdicts_true (the last four are counts).
    """
    rows = [
        {
            "query_id": example.query_id,
            "query_type": example.query_type,
            "cluster": int(cluster),
            "correct": bool(scored.graded.correct[row]),
            "boxed": bool(scored.graded.boxed[row]),
            **_counts(statements.read(scored.paragraphs[row], example)),
        }
        for row, (example, cluster) in enumerate(zip(examples, clusters, strict=True))
    ]
    return pd.DataFrame(rows)


def _counts(said: Sequence[Statement]) -> dict[str, int]:
    facts, verdicts = checks(said, "fact"), checks(said, "verdict")
    return {
        "facts_stated": len(facts),
        "facts_confirmed": sum(facts),
        "verdicts_stated": len(verdicts),
        "verdicts_true": sum(verdicts),
    }
