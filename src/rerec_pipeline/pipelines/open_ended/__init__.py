"""The open_ended pipelines."""

from rerec_pipeline.pipelines.open_ended.pipeline import create_baselines_pipeline, create_pipeline

__all__ = ["create_baselines_pipeline", "create_pipeline"]
