"""Interaction graph -> LightGCN embeddings."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.graph_modeling.nodes")


def create_pipeline() -> Pipeline:
    """The graph modelling pipeline."""
    return Pipeline(
        [
            node(
                nodes.pretrain_lightgcn,
                ["interaction_graph", "items", "params:lightgcn"],
                ["lightgcn_embeddings", "lightgcn_report"],
            ),
            node(nodes.plot_lightgcn, "lightgcn_report", "lightgcn_plot"),
        ]
    )
