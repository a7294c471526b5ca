"""The rft pipeline."""

from rerec_pipeline.pipelines.rft.pipeline import create_pipeline

__all__ = ["create_pipeline"]
