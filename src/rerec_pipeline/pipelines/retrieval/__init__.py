"""The retrieval pipeline."""

from rerec_pipeline.pipelines.retrieval.pipeline import create_pipeline, create_ranker_pipeline

__all__ = ["create_pipeline", "create_ranker_pipeline"]
