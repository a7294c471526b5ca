"""The graph_modeling pipeline."""

from rerec_pipeline.pipelines.graph_modeling.pipeline import create_pipeline

__all__ = ["create_pipeline"]
