"""The recommend and judge_answers pipelines."""

from rerec_pipeline.pipelines.recommend.pipeline import create_judging_pipeline, create_pipeline

__all__ = ["create_judging_pipeline", "create_pipeline"]
