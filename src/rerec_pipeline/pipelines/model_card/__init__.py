"""The model_card pipeline."""

from rerec_pipeline.pipelines.model_card.pipeline import create_pipeline

__all__ = ["create_pipeline"]
