"""Catalog data sets that only read: the reports of several runs, files of finished cells, pages."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview

from rerec_pipeline.configs import folder_of_split
from rerec_pipeline.errors import BadInputError


class CellTablesDataset(AbstractDataset[NoReturn, pd.DataFrame]):
    """One file of every finished cell of an experiment, below one another; read only.

    Each row says in ``variant``, ``label`` and ``seed`` which cell it is from. A Parquet file
    keeps its rows; a JSON file becomes one row, its nested names joined by dots.

    Args:
        filepath: The experiment's list of cells (cells.json).
        path: Folder in which each cell's ``run`` is a folder.
        file: Name of the file in it.
        follows_split: Whether the file is in a folder of the split that the cells were asked.
        metadata: Ignored by Kedro; read by kedro viz.
    """

    def __init__(
        self,
        *,
        filepath: str,
        path: str,
        file: str,
        follows_split: bool = False,
        metadata: dict[str, Any] | None = None,
    ):
        self._filepath = Path(filepath)
        self._path = Path(path)
        self._file = file
        self._follows_split = follows_split
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Reads the file of every finished cell, in the order of the list.

        Raises:
            BadInputError: If no cell is finished, or one that is lacks the file.
        """
        experiment = json.loads(self._filepath.read_text())
        asked = folder_of_split(experiment["split"]) if self._follows_split else ""
        tables = [
            self._table(cell, asked) for cell in experiment["cells"] if cell["state"] == "finished"
        ]
        if not tables:
            raise BadInputError(
                self._filepath, "no cell is finished", remedy="Run the experiment first"
            )
        return pd.concat(tables, ignore_index=True)

    def save(self, data: NoReturn) -> None:
        """Refuses: cells are written by their own runs."""
        raise DatasetError(f"{self._filepath}: cells are written by their own runs")

    def preview(self, nrows: int = 5) -> TablePreview:
        """First rows for kedro viz."""
        return TablePreview(json.loads(self.load().head(nrows).to_json(orient="split")))

    def _table(self, cell: dict[str, Any], asked: str) -> pd.DataFrame:
        path = self._path / cell["run"] / asked / self._file
        if not path.is_file():
            raise BadInputError(
                path,
                "the list of cells says that this cell is finished, but the file is not there",
                remedy="Run the experiment again",
            )
        if path.suffix == ".parquet":
            rows = pd.read_parquet(path)
        else:
            rows = pd.json_normalize(json.loads(path.read_text()))
        of_cell = pd.DataFrame({k: [cell[k]] * len(rows) for k in ("variant", "label", "seed")})
        return pd.concat([of_cell, rows.reset_index(drop=True)], axis=1)

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "path": str(self._path), "file": self._file}


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


class PagesDataset(AbstractDataset[NoReturn, dict[str, str]]):
    """HTML pages that exist below a folder, and their addresses; read only.

    Args:
        path: The folder.
        start: Folder of the page that links to them; the same folder by default.
        metadata: Ignored by Kedro; read by kedro viz.
    """

    def __init__(
        self, *, path: str, start: str | None = None, metadata: dict[str, Any] | None = None
    ):
        self._path = PurePosixPath(path)
        self._start = PurePosixPath(start or path)
        self.metadata = metadata

    def load(self) -> dict[str, str]:
        """Lists the pages: path below the folder, sorted -> address relative to ``start``."""
        folder = Path(self._path)
        return {
            page.relative_to(folder).as_posix(): Path(os.path.relpath(page, self._start)).as_posix()
            for page in sorted(folder.rglob("*.html"))
        }

    def save(self, data: NoReturn) -> NoReturn:
        """Refuses: each page is written by its own pipeline."""
        raise DatasetError(f"{self._path}: pages are written by their own pipelines")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "start": str(self._start)}
