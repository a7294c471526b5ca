"""The base_policy pipeline."""

from rerec_pipeline.pipelines.base_policy.pipeline import create_pipeline

__all__ = ["create_pipeline"]
