"""The diagnosis pipeline."""

from rerec_pipeline.pipelines.diagnosis.pipeline import create_pipeline

__all__ = ["create_pipeline"]
