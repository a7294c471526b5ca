"""Raw files -> tables -> splits, candidates and prompts; the two graphs."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.data_engineering.nodes")
prompts = LazyModule("rerec_pipeline.pipelines.data_engineering.prompts")

#: All that is known of a query when its candidates are chosen.
ASKED = ("queries", "splits", "mentions", "histories")

#: What candidates are retrieved by, where they are.
FOUND_BY = ("items", "attribute_graph", "item_popularity", "group_popularity")


def create_pipeline() -> Pipeline:
    """The data engineering pipeline."""
    return _create_tables_pipeline() + Pipeline(
        [
            node(
                prompts.collect_histories,
                ["queries", "interactions", "params:data.history", "params:histories"],
                "histories",
            ),
            node(
                prompts.find_pools,
                ["queries", "splits", *FOUND_BY, "params:data.candidates", "params:retrieval"],
                "candidate_pools",
            ),
            node(
                prompts.draw_candidates,
                [*ASKED, "items", "attribute_graph", "candidate_pools", "params:data.candidates",
                 "params:fixed"],
                "candidates",
            ),
            node(
                prompts.build_prompts,
                [*ASKED, "candidates", "items", "attribute_graph", "params:data"],
                "prompts",
            ),
        ]
    )  # fmt: skip


def _create_tables_pipeline() -> Pipeline:
    """Raw files -> checked tables, splits and the two graphs."""
    return Pipeline(
        [
            node(
                nodes.prepare_raw_files,
                ["params:data.source", "params:data.domain", "params:data.world", "params:raw_dir"],
                "raw_manifest",
            ),
            node(
                nodes.ingest_items,
                ["raw_manifest", "params:data.domain", "params:attributes"],
                ["items", "item_kinds"],
            ),
            node(nodes.ingest_users, "raw_manifest", "users"),
            node(nodes.read_interactions, "raw_manifest", "raw_interactions"),
            node(
                nodes.ingest_interactions,
                ["raw_interactions", "items", "raw_manifest"],
                "interactions",
            ),
            node(
                nodes.ingest_attributes,
                ["raw_manifest", "items", "item_kinds", "params:attributes"],
                ["attributes", "graph_exclusions"],
            ),
            node(
                nodes.ingest_queries,
                ["raw_manifest", "items", "params:data.source", "params:attributes"],
                ["queries", "exclusions"],
            ),
            node(prompts.find_mentions, ["queries", "items"], "mentions"),
            node(
                prompts.assign_splits,
                ["queries", "mentions", "items", "params:data.split", "params:fixed"],
                "splits",
            ),
            node(
                nodes.state_facts,
                ["queries", "splits", "items", "params:attributes"],
                ["stated_facts", "stated_exclusions"],
            ),
            node(nodes.build_attribute_graph, ["attributes", "stated_facts"], "attribute_graph"),
            node(
                nodes.build_interaction_graph,
                ["interactions", "queries", "splits", "params:interactions"],
                "interaction_graph",
            ),
            node(nodes.count_popularity, ["interaction_graph", "items"], "item_popularity"),
            node(nodes.count_by_groups, ["interaction_graph", "users"], "group_popularity"),
        ]
    )  # fmt: skip
