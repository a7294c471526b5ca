"""Nodes of the data report: what a data set consists of, as tables and plots."""

from __future__ import annotations

from typing import Any

import ibis.expr.types as ir
import pandas as pd
import plotly.graph_objects as go
from ibis import _

from rerec_pipeline.graphs.edges import degree_histogram
from rerec_pipeline.recbench.raw import Manifest
from rerec_pipeline.reporting import plots
from rerec_pipeline.reporting.data_tables import (
    confirm_conditions,
    count_exclusions,
    count_queries,
    degree_counts,
    degree_summary,
    fact_counts,
    share,
    share_listed,
)


def tabulate_data(
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    attributes: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    interaction_graph: ir.Table,
    *exclusions: dict[str, int],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Queries, exclusions, confirmed conditions and degrees, as tables."""
    facts = attribute_graph["relation"] + ": " + attribute_graph["value"]
    sides = degree_histogram(interaction_graph).to_pandas().rename(columns={"side": "role"})
    degrees = [
        sides.replace(
            {"role": {"user": "interactions of a user", "item": "interactions of an item"}}
        ),
        degree_counts(attribute_graph["item_id"], "attributes of an item"),
        degree_counts(facts, "items of an attribute"),
    ]
    return (
        count_queries(queries, splits),
        count_exclusions(*exclusions),
        confirm_conditions(queries, attributes),
        pd.concat(degrees, ignore_index=True),
    )


def report_data(
    manifest: Manifest,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    candidates: pd.DataFrame,
    histories: pd.DataFrame,
    attributes: pd.DataFrame,
    facts: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    interaction_graph: ir.Table,
    exclusion_counts: pd.DataFrame,
    confirmed_conditions: pd.DataFrame,
    degrees: pd.DataFrame,
) -> dict[str, Any]:
    """Counts what went in and what came out."""
    counted = queries.merge(splits, on="query_id")
    by_split = counted.groupby(["query_type", "split"]).size().unstack(fill_value=0)
    truths, sizes = counted["truth_ids"].map(len), candidates["candidate_ids"].map(len)
    stated, confirmed = confirmed_conditions[["stated", "confirmed"]].sum()
    parts = interaction_graph.group_by("part").aggregate(edges=_.count()).order_by("part")
    lengths = histories["history_ids"].map(len)
    return {
        "files": {name: entry["bytes"] for name, entry in manifest.items()},
        "queries": {kind: row.to_dict() for kind, row in by_split.iterrows()},
        "queries_outside_the_split": len(queries) - len(counted),
        "queries_with_incomplete_labels": int((~counted["label_complete"]).sum()),
        "right_items": {"mean": float(truths.mean()), "max": int(truths.max())},
        "candidates": {"min": int(sizes.min()), "max": int(sizes.max())},
        "right_item_listed": share_listed(candidates, splits),
        "prompts_without_history": int((lengths == 0).sum()) if len(histories) else None,
        "excluded": dict(
            zip(exclusion_counts["reason"], exclusion_counts["count"].map(int), strict=True)
        ),
        "attributes": fact_counts(attributes, facts, attribute_graph),
        "conditions": {
            "stated": int(stated),
            "confirmed": int(confirmed),
            "share_confirmed": share(confirmed, stated),
        },
        "interaction_edges": {row["part"]: row["edges"] for row in parts.to_pyarrow().to_pylist()},
        "degrees": degree_summary(degrees),
    }


def plot_data(
    query_counts: pd.DataFrame,
    exclusion_counts: pd.DataFrame,
    confirmed_conditions: pd.DataFrame,
    degrees: pd.DataFrame,
) -> tuple[go.Figure, go.Figure, go.Figure, go.Figure]:
    """The same tables as plots."""
    return (
        plots.queries_by_type(query_counts),
        plots.exclusions_by_reason(exclusion_counts),
        plots.conditions_confirmed(confirmed_conditions),
        plots.degree_distributions(degrees),
    )
