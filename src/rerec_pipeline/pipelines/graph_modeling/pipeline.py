"""Interaction graph -> LightGCN embeddings."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from rerec_pipeline.lazy import LazyModule

nodes = LazyModule("rerec_pipeline.pipelines.graph_modeling.nodes")


def create_pipeline() -> Pipeline:
    """The graph modelling pipeline."""
    return Pipeline(
        [
            Node(
                nodes.pretrain_lightgcn,
                ["interaction_graph", "items", "params:lightgcn"],
                ["lightgcn_embeddings", "lightgcn_report"],
                name="pretrain_lightgcn",
            ),
            Node(nodes.plot_lightgcn, "lightgcn_report", "lightgcn_plot", name="plot_lightgcn"),
        ]
    )
