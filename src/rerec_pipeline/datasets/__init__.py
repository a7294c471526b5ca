"""Catalog data sets: atomic versions of the usual ones, tensors, and language models."""

from rerec_pipeline.datasets.atomic import (
    AtomicJSONDataset,
    AtomicParquetDataset,
    AtomicPlotlyDataset,
    AtomicTextDataset,
)
from rerec_pipeline.datasets.cells import CellTablesDataset
from rerec_pipeline.datasets.engine import EngineTableDataset
from rerec_pipeline.datasets.models import PolicyDataset, TensorsDataset
from rerec_pipeline.datasets.reports import ReportsDataset

__all__ = [
    "AtomicJSONDataset",
    "AtomicParquetDataset",
    "AtomicPlotlyDataset",
    "AtomicTextDataset",
    "CellTablesDataset",
    "EngineTableDataset",
    "PolicyDataset",
    "ReportsDataset",
    "TensorsDataset",
]
