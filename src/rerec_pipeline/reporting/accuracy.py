"""Accuracies with intervals, overall and by query type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.reporting.statistics import percentile_interval


def bootstrap_interval(
    values: NDArray[np.float64], samples: int, confidence: float, seed: int
) -> list[float]:
    """Percentile bootstrap interval of a mean, resampling queries.

    Args:
        values: One value for each query, (N,), N at least 1.
        samples: Number of resamples.
        confidence: E.g. 0.95.
        seed: Of the resampling.

    Returns:
        Lower and upper bound.
    """
    rng = np.random.default_rng(seed)
    means = np.empty(samples)
    # In portions: samples x N numbers at once would grow with the test set.
    for start in range(0, samples, 100):
        draws = rng.integers(len(values), size=(min(100, samples - start), len(values)))
        means[start : start + 100] = values[draws].mean(axis=1)
    return list(percentile_interval(means, confidence))


def summarise(
    correct: NDArray[np.bool_],
    query_types: Sequence[str],
    samples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Accuracy overall and by query type, each with its count and interval.

    Args:
        correct: Whether each query was answered rightly, (N,).
        query_types: Type of each query.
        samples: Bootstrap resamples.
        confidence: Of the intervals.
        seed: Of the bootstrap.

    Returns:
        ``accuracy``, ``n``, ``interval`` and, per type, the same under ``by_type``.
    """
    values = correct.astype(np.float64)
    types = np.asarray(query_types)

    def row(mask: NDArray[np.bool_]) -> dict[str, Any]:
        chosen = values[mask]
        return {
            "accuracy": float(chosen.mean()),
            "n": len(chosen),
            "interval": bootstrap_interval(chosen, samples, confidence, seed),
        }

    everything = row(np.ones(len(values), dtype=bool))
    return {**everything, "by_type": {t: row(types == t) for t in dict.fromkeys(query_types)}}
