"""The report of retrieval over the whole catalogue, and of choices among candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.reporting.accuracy import bootstrap_interval

#: Lengths of the lists in which right items count.
CUTS = (1, 5, 10, 20, 50)


@dataclass(frozen=True)
class RetrievalResult:
    """What one system found for N queries.

    Attributes:
        values: Metric -> its value for each query, float64 (N,): ``recall@k`` is the share of the
            listed right items among the first k, ``hit@20`` whether any is among the first 20,
            ``choice_accuracy`` whether the choice among the prompt's candidates is right.
    """

    values: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of_lists(
        cls,
        found: Sequence[Sequence[int]],
        truths: Sequence[Sequence[int]],
        right: NDArray[np.bool_],
    ) -> RetrievalResult:
        """The metrics of lists, best first, beside the listed right items and choices."""
        pairs = [(list(f), set(map(int, t))) for f, t in zip(found, truths, strict=True)]
        values = {
            f"recall@{k}": np.array([len(t.intersection(f[:k])) / len(t) for f, t in pairs])
            for k in CUTS
        }
        values["hit@20"] = np.array([float(bool(t.intersection(f[:20]))) for f, t in pairs])
        return cls({**values, "choice_accuracy": right.astype(np.float64)})


def report_systems(
    systems: Mapping[str, RetrievalResult],
    query_types: Sequence[str],
    clusters: NDArray[np.int64],
    times: Mapping[str, float],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Means and intervals of every metric of every system.

    Args:
        systems: What each found; ``graph`` is at the top, the others under their names.
        query_types: Type of each query, N.
        clusters: Cluster of each query, (N,).
        times: System -> milliseconds for a query.
        bootstrap: Of the intervals.

    Returns:
        ``overall`` and ``by_type`` of ``graph``; for each other system what is ``overall``, and
        its ``by_type``. Each has ``n``, ``clusters``, the metrics, ``ms_per_query`` and, under
        ``intervals``, low and high of each metric.
    """
    types = np.asarray(query_types)
    masks = {t: types == t for t in dict.fromkeys(query_types)}
    report: dict[str, Any] = {}
    for name, found in systems.items():

        def row(
            mask: NDArray[np.bool_], found: RetrievalResult = found, name: str = name
        ) -> dict[str, Any]:
            of = clusters[mask]
            chosen = {metric: values[mask] for metric, values in found.values.items()}
            means = {metric: float(values.mean()) for metric, values in chosen.items()}
            intervals = {
                metric: bootstrap_interval(values, bootstrap, of)
                for metric, values in chosen.items()
            }
            counts = {"n": len(of), "clusters": len(set(of))}
            return {**counts, **means, "ms_per_query": times[name], "intervals": intervals}

        whole = row(np.ones(len(types), dtype=bool))
        by_type = {kind: row(mask) for kind, mask in masks.items()}
        if name == "graph":
            report = {"overall": whole, "by_type": by_type, **report}
        else:
            report[name] = {**whole, "by_type": by_type}
    return report
