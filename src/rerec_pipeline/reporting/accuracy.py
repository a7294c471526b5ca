"""Accuracies with intervals, overall and by query type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.reporting.statistics import percentile_interval, sum_clusters


def bootstrap_interval(
    values: NDArray[np.float64],
    bootstrap: Bootstrap,
    clusters: NDArray[np.int64] | None = None,
) -> list[float]:
    """Percentile bootstrap interval of a mean, resampling queries or clusters of them.

    Args:
        values: One value for each query, (N,), N at least 1.
        bootstrap: Of the intervals.
        clusters: Cluster of each value, (N,), where values hang together; a resample then draws
            clusters, as many as there are.

    Returns:
        Lower and upper bound.
    """
    own = np.arange(len(values)) if clusters is None else clusters
    sums, sizes = sum_clusters(np.stack([values, np.ones_like(values)]), own)
    samples = bootstrap.samples
    rng = np.random.default_rng(bootstrap.seed)
    means = np.empty(samples)
    # In portions: samples x N numbers at once would grow with the test set.
    for start in range(0, samples, 100):
        draws = rng.integers(len(sums), size=(min(100, samples - start), len(sums)))
        means[start : start + 100] = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    return list(percentile_interval(means, bootstrap.confidence))


def mean_and_interval(
    values: NDArray[np.float64],
    bootstrap: Bootstrap,
    clusters: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """The mean under ``mean`` and, under ``interval``, what ``bootstrap_interval`` gives."""
    interval = bootstrap_interval(values, bootstrap, clusters)
    return {"mean": float(values.mean()), "interval": interval}


def summarise(
    correct: NDArray[np.bool_],
    query_types: Sequence[str],
    clusters: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Accuracy overall and by query type, each with its count and interval.

    Args:
        correct: Whether each query was answered rightly, (N,).
        query_types: Type of each query.
        clusters: Cluster of each query, (N,): queries of one are no independent evidence.
        bootstrap: Of the intervals.

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
            "interval": bootstrap_interval(chosen, bootstrap, of),
        }

    everything = row(np.ones(len(values), dtype=bool))
    return {**everything, "by_type": {t: row(types == t) for t in dict.fromkeys(query_types)}}
