"""The next_item and next_item_baselines pipelines."""

from rerec_pipeline.pipelines.next_item.pipeline import create_baselines_pipeline, create_pipeline

__all__ = ["create_baselines_pipeline", "create_pipeline"]
