"""The report of open-ended answers: the benchmark authors' measures, by query type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.reporting.accuracy import bootstrap_interval

MEASURES = ("recall", "precision", "ndcg")


def report_open_ended(
    scores: pd.DataFrame,
    labels: pd.DataFrame,
    clusters: pd.Series,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Means and intervals of every system, for each query type.

    Systems are compared within a type on the queries that all of them answered. Where labels are
    not whole, an answer may be right and count as wrong, and the labels that are known favour what
    language models recommend; ``comparable`` is true where all labels of a type are whole.

    Args:
        scores: query_id, system, cut (0 counts all titles), recall, precision, ndcg, ftr.
        labels: query_id, query_type, label_complete.
        clusters: Cluster of each query, by query id.
        bootstrap: Of the intervals.

    Returns:
        ``by_type``: for each query type ``n``, ``clusters``, ``labels_complete`` (share),
        ``comparable`` and ``systems``: for each its measures, ``ftr``, ``intervals`` (low and high
        of each measure) and, under ``at_<cut>``, the measures of its first titles.

    Raises:
        BadInputError: If no query of a type has an answer of every system.
    """
    known = labels.set_index("query_id")
    rows = scores.join(known[["query_type", "label_complete"]], on="query_id")
    by_type = {}
    for kind, found in rows.groupby("query_type", sort=False):
        answered = found.groupby("query_id")["system"].nunique()
        common = answered.index[answered == found["system"].nunique()]
        if common.empty:
            systems = ", ".join(map(str, found["system"].unique()))
            raise BadInputError(
                "open_ended.recorded",
                f"no {kind} query that is asked has an answer of every system ({systems})",
                remedy="Take a file out of the folder, or ask another split by --params split=...",
            )
        shared = found[found["query_id"].isin(common)]
        of = clusters.loc[common].to_numpy()
        complete = known.loc[common, "label_complete"]
        by_type[str(kind)] = {
            "n": len(common),
            "clusters": len(set(of)),
            "labels_complete": float(complete.mean()),
            "comparable": bool(complete.all()),
            "systems": {
                str(system): _summary(table, common, of, bootstrap)
                for system, table in shared.groupby("system", sort=False)
            },
        }
    return {"by_type": by_type}


def _summary(
    table: pd.DataFrame,
    queries: pd.Index,
    clusters: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    by_cut = {cut: rows.set_index("query_id").loc[queries] for cut, rows in table.groupby("cut")}
    whole = by_cut.pop(0)
    means = {name: float(whole[name].mean()) for name in (*MEASURES, "ftr")}
    intervals = {
        name: bootstrap_interval(whole[name].to_numpy("float64"), bootstrap, clusters)
        for name in MEASURES
    }
    cuts = {
        f"at_{cut}": {name: float(rows[name].mean()) for name in MEASURES}
        for cut, rows in by_cut.items()
    }
    return {**means, "intervals": intervals, **cuts}
