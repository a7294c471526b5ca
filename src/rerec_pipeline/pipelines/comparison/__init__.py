"""The comparison pipeline."""

from rerec_pipeline.pipelines.comparison.pipeline import create_pipeline

__all__ = ["create_pipeline"]
