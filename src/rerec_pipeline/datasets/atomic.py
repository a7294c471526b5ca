"""Kedro data sets that are never half-written: they write beside their file, then rename."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from kedro_datasets._typing import TablePreview
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import ParquetDataset
from kedro_datasets.plotly import JSONDataset as PlotlyJSONDataset
from kedro_datasets.text import TextDataset

from rerec_pipeline.files import remove, swap_in


class WriteBeside:
    """Mix-in for file data sets: a reader sees the old file or the new one, nothing between."""

    _beside: Path | None = None

    def _get_save_path(self) -> PurePosixPath:
        if self._beside is not None:
            return PurePosixPath(self._beside.as_posix())
        return super()._get_save_path()  # type: ignore[misc]

    def save(self, data: Any) -> None:
        """Writes a file next to the target and renames it when it is complete."""
        target = Path(super()._get_save_path())  # type: ignore[misc]
        target.parent.mkdir(parents=True, exist_ok=True)
        # Engines go by names: Spark reads none that begins with a dot, others look at the end.
        self._beside = target.with_name(f"{target.stem}.partial{target.suffix}")
        try:
            super().save(data)  # type: ignore[misc]
            swap_in(self._beside, target)
        finally:
            remove(self._beside)
            self._beside = None


class AtomicParquetDataset(WriteBeside, ParquetDataset):
    """A pandas table as Parquet; its columns may hold lists."""

    def preview(self, nrows: int = 5) -> TablePreview:
        """First rows for kedro viz, lists as text: the arrays of Parquet are not JSON."""
        table = super().preview(nrows)
        table["data"] = [
            [", ".join(map(str, cell)) if isinstance(cell, np.ndarray) else cell for cell in row]
            for row in table["data"]
        ]
        return TablePreview(table)


class AtomicJSONDataset(WriteBeside, JSONDataset):
    """Plain values as JSON."""


class AtomicPlotlyDataset(WriteBeside, PlotlyJSONDataset):
    """A Plotly figure as JSON, drawn by kedro viz."""


class AtomicTextDataset(WriteBeside, TextDataset):
    """A text file (HTML, Markdown)."""
