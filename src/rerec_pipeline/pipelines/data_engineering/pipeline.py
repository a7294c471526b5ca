"""Raw files -> tables -> splits, candidates and prompts; the two graphs."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from rerec_pipeline.lazy import LazyModule

nodes = LazyModule("rerec_pipeline.pipelines.data_engineering.nodes")

#: All that is known of a query when its candidates are chosen.
ASKED = ("queries", "splits", "mentions", "histories")

#: What candidates are retrieved by, where they are.
FOUND_BY = ("items", "attribute_graph", "item_popularity", "group_popularity")


def create_pipeline() -> Pipeline:
    """The data engineering pipeline."""
    return _create_tables_pipeline() + Pipeline(
        [
            Node(
                nodes.collect_histories,
                ["queries", "interactions", "params:data", "params:histories"],
                "histories", name="collect_histories",
            ),
            Node(
                nodes.find_pools,
                ["queries", "splits", *FOUND_BY, "params:data.candidates", "params:retrieval"],
                "candidate_pools", name="find_pools",
            ),
            Node(
                nodes.draw_candidates,
                [*ASKED, "items", "attribute_graph", "candidate_pools", "params:data.candidates",
                 "params:fixed"],
                "candidates", name="draw_candidates",
            ),
            Node(
                nodes.build_prompts,
                [*ASKED, "candidates", "items", "attribute_graph", "params:data"],
                "prompts", name="build_prompts",
            ),
        ]
    )  # fmt: skip


def _create_tables_pipeline() -> Pipeline:
    """Raw files -> checked tables, splits and the two graphs."""
    return Pipeline(
        [
            Node(nodes.prepare_raw_files, ["params:data", "params:raw_dir"], "raw_manifest",
                 name="prepare_raw_files"),
            Node(
                nodes.ingest_items, ["raw_manifest", "params:data", "params:attributes"],
                ["items", "item_kinds"], name="ingest_items",
            ),
            Node(nodes.ingest_users, "raw_manifest", "users", name="ingest_users"),
            Node(nodes.read_interactions, "raw_manifest", "raw_interactions",
                 name="read_interactions"),
            Node(
                nodes.ingest_interactions, ["raw_interactions", "items", "raw_manifest"],
                "interactions", name="ingest_interactions",
            ),
            Node(
                nodes.ingest_attributes,
                ["raw_manifest", "items", "item_kinds", "params:attributes"],
                ["attributes", "graph_exclusions"], name="ingest_attributes",
            ),
            Node(
                nodes.ingest_queries,
                ["raw_manifest", "items", "params:data", "params:attributes"],
                ["queries", "exclusions"], name="ingest_queries",
            ),
            Node(nodes.find_mentions, ["queries", "items"], "mentions", name="find_mentions"),
            Node(
                nodes.assign_splits,
                ["queries", "mentions", "items", "params:data.split", "params:fixed"],
                "splits", name="assign_splits",
            ),
            Node(
                nodes.state_facts, ["queries", "splits", "items", "params:attributes"],
                ["stated_facts", "stated_exclusions"], name="state_facts",
            ),
            Node(nodes.build_attribute_graph, ["attributes", "stated_facts"], "attribute_graph",
                 name="build_attribute_graph"),
            Node(
                nodes.build_interaction_graph,
                ["interactions", "queries", "splits", "params:interactions"],
                "interaction_graph", name="build_interaction_graph",
            ),
            Node(nodes.count_popularity, ["interaction_graph", "items"], "item_popularity",
                 name="count_popularity"),
            Node(nodes.count_by_groups, ["interaction_graph", "users"], "group_popularity",
                 name="count_by_groups"),
        ]
    )  # fmt: skip
