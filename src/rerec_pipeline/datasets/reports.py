"""A catalog data set that finds what several runs have reported."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from kedro.io import AbstractDataset
from kedro.io.core import DatasetError


class ReportsDataset(AbstractDataset[NoReturn, dict[str, Any]]):
    """JSON reports of one file name below a folder, each by where it lies; it is only read.

    There may be none: what that means is for the reader to say.

    Args:
        path: The folder.
        name: The file name of a report.
        metadata: Ignored by Kedro; read by kedro viz.
    """

    def __init__(self, *, path: str, name: str, metadata: dict[str, Any] | None = None):
        self._path = PurePosixPath(path)
        self._name = name
        self.metadata = metadata

    def load(self) -> dict[str, Any]:
        """Reads all reports: their folders, relative to ours and sorted -> their content."""
        folder = Path(self._path)
        return {
            file.parent.relative_to(folder).as_posix(): json.loads(file.read_text("utf-8"))
            for file in sorted(folder.rglob(self._name))
        }

    def save(self, data: NoReturn) -> NoReturn:
        """Refuses: each report is written by its own run."""
        raise DatasetError(f"{self._path}: reports of runs are only read here")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "name": self._name}
