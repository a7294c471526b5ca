"""Tables that describe a data set, for people and for plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rerec_pipeline.recbench.splits import SPLITS
from rerec_pipeline.recbench.tables import lists_right_item, read_attribute


def count_queries(queries: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Queries by type and number of conditions: per split, right items, incomplete labels.

    Args:
        queries: Table of queries.
        splits: Table of splits; queries without one are not counted.

    Returns:
        Columns query_type, conditions, train, validation, test, right_items (mean a query),
        states_conditions (queries whose record says which conditions) and incomplete_labels
        (queries whose list of right items is not known to be whole).
    """
    used = queries.merge(splits, on="query_id")
    used["states_conditions"] = used["conditions"].map(len) > 0
    used["conditions"] = used["condition_num"].fillna(used["conditions"].map(len)).astype("int64")
    used["right_items"] = used["truth_ids"].map(len)
    used["incomplete_labels"] = ~used["label_complete"]
    for split in SPLITS:
        used[split] = used["split"] == split
    by = used.groupby(["query_type", "conditions"])
    counts = by[[*SPLITS, "states_conditions", "incomplete_labels"]].sum()
    counts.insert(3, "right_items", by["right_items"].mean())
    return counts.reset_index()


def count_exclusions(*counted: Mapping[str, int]) -> pd.DataFrame:
    """Excluded records by reason: columns reason, count; most frequent first."""
    rows = [(reason, count) for counts in counted for reason, count in counts.items()]
    table = pd.DataFrame(rows, columns=["reason", "count"])
    return table.sort_values(["count", "reason"], ascending=[False, True], ignore_index=True)


def confirm_conditions(queries: pd.DataFrame, attributes: pd.DataFrame) -> pd.DataFrame:
    """How many stated conditions the attribute sources confirm of the queries' right items.

    Facts that queries state themselves must not be among the sources: they confirm nothing.

    Args:
        queries: Table of queries (conditions, truth_ids).
        attributes: Facts of the files (item_id, relation, value).

    Returns:
        Columns relation, stated and confirmed, numbers of (condition, right item) pairs.
    """
    known = set(zip(attributes["item_id"], attributes["relation"], attributes["value"],
                    strict=True))  # fmt: skip
    rows = [
        {"relation": relation, "stated": 1, "confirmed": int((int(item), relation, value) in known)}
        for conditions, truths in zip(queries["conditions"], queries["truth_ids"], strict=True)
        for relation, value in map(read_attribute, conditions)
        for item in truths
    ]
    table = pd.DataFrame(rows, columns=["relation", "stated", "confirmed"])
    return table.groupby("relation", as_index=False).sum()


def degree_counts(nodes: pd.Series, role: str) -> pd.DataFrame:
    """A degree distribution: columns role, degree and nodes (how many have this degree)."""
    counts = nodes.value_counts().value_counts().sort_index()
    return pd.DataFrame({"role": role, "degree": counts.index, "nodes": counts.to_numpy()})


def degree_summary(degrees: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Number of nodes, mean and largest degree by role."""
    edges = degrees["degree"] * degrees["nodes"]
    by = degrees.assign(edges=edges).groupby("role", sort=False)
    return {
        str(role): {
            "nodes": int(rows["nodes"].sum()),
            "mean_degree": float(rows["edges"].sum() / rows["nodes"].sum()),
            "max_degree": int(rows["degree"].max()),
        }
        for role, rows in by
    }


def share_listed(candidates: pd.DataFrame, splits: pd.DataFrame) -> dict[str, float]:
    """Share of the queries of each split whose right item is a candidate."""
    listed = candidates.assign(listed=lists_right_item(candidates)).merge(splits, on="query_id")
    return {str(split): float(of) for split, of in listed.groupby("split")["listed"].mean().items()}


def share(part: float, whole: float) -> float | None:
    """A share; None if the denominator is 0."""
    return part / whole if whole else None


def fact_counts(attributes: pd.DataFrame, stated: pd.DataFrame, graph: pd.DataFrame) -> Any:
    """Facts by source, edges by relation, and edges that more than one source states."""
    by_source = pd.concat([attributes["source"], stated["source"]]).value_counts().sort_index()
    return {
        "facts_by_source": by_source.to_dict(),
        "edges_by_relation": graph["relation"].value_counts().sort_index().to_dict(),
        "edges": len(graph),
        "edges_of_several_sources": int(graph["sources"].str.contains("; ").sum()),
    }
