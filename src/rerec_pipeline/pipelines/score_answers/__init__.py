"""The score_answers pipeline."""

from rerec_pipeline.pipelines.score_answers.pipeline import create_pipeline

__all__ = ["create_pipeline"]
