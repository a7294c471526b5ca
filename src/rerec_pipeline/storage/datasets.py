"""Kedro data sets that are written in one step and leave a record of what they are."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import ParquetDataset
from kedro_datasets.plotly import JSONDataset as PlotlyJSONDataset
from kedro_datasets.text import TextDataset

from rerec_pipeline.storage.records import Origin, replacing

if TYPE_CHECKING:
    import torch


class AtomicWriteMixin:
    """Mix-in for file data sets: a reader sees the old file or the new one, nothing between."""

    #: What is saved next is made from, for its record; set by whoever runs a pipeline.
    origin: Origin | None = None
    #: Whether what is there is out of date and counts as missing.
    stale = False
    _beside: Path | None = None

    def _get_save_path(self) -> PurePosixPath:
        if self._beside is not None:
            return PurePosixPath(self._beside.as_posix())
        return super()._get_save_path()  # type: ignore[misc]

    def save(self, data: Any) -> None:
        """Writes a file next to the target and renames it when it is complete."""
        target = Path(super()._get_save_path())  # type: ignore[misc]
        with replacing(target, self.origin) as beside:
            self._beside = beside
            try:
                super().save(data)  # type: ignore[misc]
            finally:
                self._beside = None
        self.stale = False

    def _exists(self) -> bool:
        return not self.stale and bool(super()._exists())  # type: ignore[misc]


class AtomicParquetDataset(AtomicWriteMixin, ParquetDataset):
    """A pandas table as Parquet; its columns may hold lists."""

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows for kedro viz, lists as text: the arrays of Parquet are not JSON."""
        table = super().preview(nrows)
        table["data"] = [
            [", ".join(map(str, cell)) if isinstance(cell, np.ndarray) else cell for cell in row]
            for row in table["data"]
        ]
        return TablePreview(table)


class AtomicJSONDataset(AtomicWriteMixin, JSONDataset):
    """Plain values as JSON."""

    DEFAULT_SAVE_ARGS: ClassVar[dict[str, Any]] = {"indent": 1}


class PortableJSONDataset(AtomicJSONDataset):
    """Plain values as JSON, in which paths inside the project stay right when it is moved.

    Args:
        root: The project's folder; in the file, ``{project}`` stands for it.
        **kwargs: See Kedro's ``JSONDataset``.
    """

    def __init__(self, *, root: str, **kwargs: Any):
        super().__init__(**kwargs)
        self._root = root

    def load(self) -> Any:
        """Reads the values, with the project's folder of today."""
        return json.loads(json.dumps(super().load()).replace("{project}", self._root))

    def save(self, data: Any) -> None:
        """Writes the values."""
        super().save(json.loads(json.dumps(data).replace(self._root, "{project}")))


class AtomicPlotlyDataset(AtomicWriteMixin, PlotlyJSONDataset):
    """A Plotly figure as JSON, drawn by kedro viz."""


class AtomicTextDataset(AtomicWriteMixin, TextDataset):
    """A text file (HTML, Markdown)."""


class TensorsDataset(AbstractDataset[dict[str, "torch.Tensor"], dict[str, "torch.Tensor"]]):
    """Named tensors in one safetensors file.

    Args:
        filepath: The file.
        metadata: Ignored by Kedro; read by kedro viz.
    """

    origin: Origin | None = None
    stale = False

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

        with replacing(Path(self._filepath), self.origin) as beside:
            save_file({name: tensor.contiguous() for name, tensor in data.items()}, str(beside))
        self.stale = False

    def _exists(self) -> bool:
        return not self.stale and Path(self._filepath).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
