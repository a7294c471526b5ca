"""The conversations pipeline."""

from rerec_pipeline.pipelines.conversations.pipeline import create_pipeline

__all__ = ["create_pipeline"]
