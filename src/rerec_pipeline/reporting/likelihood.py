"""The report of candidates ranked by likelihood, beside the answers as they were written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.reporting.accuracy import mean_and_interval
from rerec_pipeline.sequences.choices import hits, ndcg


def report_ranks(
    places: NDArray[np.int64],
    correct: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """What a box that can hold nothing but a candidate is worth.

    Args:
        places: Place of the right candidate by likelihood, from 1; 0 where it is not listed, (N,).
        correct: Whether the answer as it was written is right, (N,).
        clusters: Cluster of each query, (N,).
        bootstrap: Of the intervals.

    Returns:
        ``n``; ``free`` and ``constrained`` (accuracies), ``change`` (of each query, the latter
        minus the former), ``hit@5``, ``ndcg@10``: each with ``mean`` and ``interval``;
        ``made_right`` and ``made_wrong``: how many answers the constraint turned.
    """
    free, constrained = correct.astype(np.float64), hits(places, 1)
    measured = {
        "free": free,
        "constrained": constrained,
        "change": constrained - free,
        "hit@5": hits(places, 5),
        "ndcg@10": ndcg(places, 10),
    }
    report: dict[str, Any] = {"n": len(places)}
    for name, values in measured.items():
        report[name] = mean_and_interval(values, bootstrap, clusters)
    report["made_right"] = int((constrained > free).sum())
    report["made_wrong"] = int((constrained < free).sum())
    return report
