"""The score_choices and export_prompts pipelines."""

from rerec_pipeline.pipelines.score_choices.pipeline import create_export_pipeline, create_pipeline

__all__ = ["create_export_pipeline", "create_pipeline"]
