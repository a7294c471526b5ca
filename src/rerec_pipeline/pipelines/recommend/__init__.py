"""The recommend pipeline."""

from rerec_pipeline.pipelines.recommend.pipeline import create_pipeline

__all__ = ["create_pipeline"]
