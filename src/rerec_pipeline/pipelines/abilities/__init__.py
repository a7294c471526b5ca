"""The abilities and abilities_comparison pipelines."""

from rerec_pipeline.pipelines.abilities.pipeline import create_comparison_pipeline, create_pipeline

__all__ = ["create_comparison_pipeline", "create_pipeline"]
