"""Raw files -> tables -> splits, candidates and prompts; the two graphs."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from rerec_pipeline.pipelines.data_engineering import nodes


def create_pipeline() -> Pipeline:
    """The data engineering pipeline."""
    return Pipeline(
        [
            Node(
                nodes.prepare_raw_files,
                ["params:data", "params:raw_dir"],
                "raw_manifest",
                name="prepare_raw_files",
            ),
            Node(
                nodes.ingest_items,
                ["raw_manifest", "params:data"],
                ["items", "item_kinds"],
                name="ingest_items",
            ),
            Node(nodes.ingest_users, "raw_manifest", "users", name="ingest_users"),
            Node(
                nodes.ingest_interactions,
                ["raw_manifest", "items"],
                "interactions",
                name="ingest_interactions",
            ),
            Node(
                nodes.ingest_attributes,
                ["raw_manifest", "items", "item_kinds"],
                "attributes",
                name="ingest_attributes",
            ),
            Node(
                nodes.ingest_queries,
                ["raw_manifest", "items", "params:data"],
                ["queries", "exclusions"],
                name="ingest_queries",
            ),
            Node(
                nodes.build_attribute_graph,
                "attributes",
                "attribute_graph",
                name="build_attribute_graph",
            ),
            Node(
                nodes.assign_splits,
                ["queries", "items", "params:data.split"],
                "splits",
                name="assign_splits",
            ),
            Node(
                nodes.build_interaction_graph,
                ["interactions", "queries", "splits", "params:interactions"],
                "interaction_graph",
                name="build_interaction_graph",
            ),
            Node(
                nodes.draw_candidates,
                ["queries", "items", "attribute_graph", "params:data.candidates"],
                "candidates",
                name="draw_candidates",
            ),
            Node(
                nodes.build_prompts,
                ["queries", "splits", "candidates", "items", "params:data"],
                "prompts",
                name="build_prompts",
            ),
            Node(
                nodes.report_data,
                [
                    "raw_manifest",
                    "queries",
                    "splits",
                    "attribute_graph",
                    "interaction_graph",
                    "exclusions",
                ],
                "data_report",
                name="report_data",
            ),
        ]
    )
