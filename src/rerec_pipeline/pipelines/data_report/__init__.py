"""The data_report pipeline, which data_engineering ends with."""

from rerec_pipeline.pipelines.data_report.pipeline import create_pipeline

__all__ = ["create_pipeline"]
