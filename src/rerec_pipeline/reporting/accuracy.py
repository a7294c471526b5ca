"""Accuracies with intervals, overall and by query type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.reporting.statistics import percentile_interval, sum_clusters


def bootstrap_interval(
    values: NDArray[np.float64],
    samples: int,
    confidence: float,
    seed: int,
    clusters: NDArray[np.int64] | None = None,
) -> list[float]:
    """Percentile bootstrap interval of a mean, resampling queries or clusters of them.

    Args:
        values: One value for each query, (N,), N at least 1.
        samples: Number of resamples.
        confidence: E.g. 0.95.
        seed: Of the resampling.
        clusters: Cluster of each value, (N,), where values hang together; a resample then draws
            clusters, as many as there are.

    Returns:
        Lower and upper bound.
    """
    own = np.arange(len(values)) if clusters is None else clusters
    sums, sizes = sum_clusters(np.stack([values, np.ones_like(values)]), own)
    rng = np.random.default_rng(seed)
    means = np.empty(samples)
    # In portions: samples x N numbers at once would grow with the test set.
    for start in range(0, samples, 100):
        draws = rng.integers(len(sums), size=(min(100, samples - start), len(sums)))
        means[start : start + 100] = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    return list(percentile_interval(means, confidence))


def summarise(
    correct: NDArray[np.bool_],
    query_types: Sequence[str],
    clusters: NDArray[np.int64],
    samples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Accuracy overall and by query type, each with its count and interval.

    Args:
        correct: Whether each query was answered rightly, (N,).
        query_types: Type of each query.
        clusters: Cluster of each query, (N,): queries of one are no independent evidence.
        samples: Bootstrap resamples.
        confidence: Of the intervals.
        seed: Of the bootstrap.

    Returns:
        ``accuracy``, ``n``, ``clusters`` (how many), ``interval`` and, per type, the same under
        ``by_type``.
    """
    values = correct.astype(np.float64)
    types = np.asarray(query_types)

    def row(mask: NDArray[np.bool_]) -> dict[str, Any]:
        chosen, of = values[mask], clusters[mask]
        return {
            "accuracy": float(chosen.mean()),
            "n": len(chosen),
            "clusters": len(set(of)),
            "interval": bootstrap_interval(chosen, samples, confidence, seed, of),
        }

    everything = row(np.ones(len(values), dtype=bool))
    return {**everything, "by_type": {t: row(types == t) for t in dict.fromkeys(query_types)}}
