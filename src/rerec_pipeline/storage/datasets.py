"""Kedro data sets that are written in one step and leave a record of what they are."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import ParquetDataset
from kedro_datasets.plotly import JSONDataset as PlotlyJSONDataset
from kedro_datasets.text import TextDataset

from rerec_pipeline.storage.records import replacing

if TYPE_CHECKING:
    import torch


class WriteBeside:
    """Mix-in for file data sets: a reader sees the old file or the new one, nothing between."""

    _beside: Path | None = None

    def _get_save_path(self) -> PurePosixPath:
        if self._beside is not None:
            return PurePosixPath(self._beside.as_posix())
        return super()._get_save_path()  # type: ignore[misc]

    def save(self, data: Any) -> None:
        """Writes a file next to the target and renames it when it is complete."""
        with replacing(Path(super()._get_save_path())) as beside:  # type: ignore[misc]
            self._beside = beside
            try:
                super().save(data)  # type: ignore[misc]
            finally:
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


class TensorsDataset(AbstractDataset[dict[str, "torch.Tensor"], dict[str, "torch.Tensor"]]):
    """Named tensors in one safetensors file.

    Args:
        filepath: The file.
        metadata: Ignored by Kedro; read by kedro viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None):
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, torch.Tensor]:
        """Reads all tensors."""
        from safetensors.torch import load_file

        return load_file(str(self._filepath))

    def save(self, data: dict[str, torch.Tensor]) -> None:
        """Writes beside the file, then renames."""
        from safetensors.torch import save_file

        with replacing(Path(self._filepath)) as beside:
            save_file({name: tensor.contiguous() for name, tensor in data.items()}, str(beside))

    def _exists(self) -> bool:
        return Path(self._filepath).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
