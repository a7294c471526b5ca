"""The likelihood and next_item_likelihood pipelines."""

from rerec_pipeline.pipelines.likelihood.pipeline import create_next_item_pipeline, create_pipeline

__all__ = ["create_next_item_pipeline", "create_pipeline"]
