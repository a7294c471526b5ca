"""The conversations and conversations_baselines pipelines."""

from rerec_pipeline.pipelines.conversations.pipeline import (
    create_baselines_pipeline,
    create_pipeline,
)

__all__ = ["create_baselines_pipeline", "create_pipeline"]
