"""What stands on disk about the cells of an experiment: which are finished, which were begun."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerec_pipeline.storage.records import (
    Origin,
    announce,
    discard,
    hash_of,
    problem_of,
    read_record,
    replacing,
)
from rerec_pipeline.storage.writing import write_bytes


def write_json(path: Path, content: Any) -> None:
    """Writes a file beside, then renames it: a reader sees the old one or the new one."""
    write_bytes(path, json.dumps(content, indent=1).encode())


def read_json(path: Path) -> Any:
    """Content of a file; None if there is none."""
    return json.loads(path.read_text()) if path.is_file() else None


@dataclass(frozen=True)
class Record:
    """A finished cell.

    Attributes:
        origin: What it followed from.
        outputs: Output -> hash of its content.
        seconds: From start to end, of the attempt that finished it.
        mlflow_run_id: Its run, where it was logged to MLflow.
    """

    origin: Origin
    outputs: dict[str, str]
    seconds: float
    mlflow_run_id: str | None


class CellFolder:
    """What is known of one cell: ``cell.json`` in the reporting folder of its run.

    It is an output like any other: its record holds what the cell follows from, and says before
    the cell is finished what it was begun with.

    Args:
        root: The project's folder.
        run: Folder of the run below every layer.
    """

    def __init__(self, root: Path, run: str):
        self.root = root
        self._path = root / "data/08_reporting" / run / "cell.json"
        self.run_id_file = self._path.with_name("mlflow_run_id.txt")

    @property
    def run_id(self) -> str | None:
        """The MLflow run of the last attempt."""
        return self.run_id_file.read_text().strip() if self.run_id_file.is_file() else None

    def read(self) -> Record | None:
        """The record of a finished cell; None where there is none."""
        made = read_record(self._path)
        if problem_of(self._path) or made is None or made.origin is None:
            return None
        return Record(made.origin, **read_json(self._path))

    def what_is_missing(self, record: Record) -> str:
        """Which outputs are not there as they were recorded, in words; empty if all are."""
        for name, content in record.outputs.items():
            path = self.root / name
            if not path.exists():
                return f"{name} is gone"
            if hash_of(path) != content:
                return f"{name} has been written by another run"
        return ""

    def begin(self, origin: Origin, outputs: list[Path], checkpoints: Path) -> bool:
        """Prepares an attempt; says whether it goes on with an interrupted one.

        What is left of an attempt at something else, its checkpoints and outputs, is removed:
        nothing of it may be taken for a part of this one.
        """
        begun = read_record(self._path)
        if begun and begun.sha256 is None and begun.origin and begun.origin.digest == origin.digest:
            return True
        self.forget()
        for path in (*outputs, checkpoints, self.run_id_file):
            discard(path)
        announce(self._path, origin)
        return False

    def forget(self) -> None:
        """Makes the cell as if it had never been begun."""
        discard(self._path)

    def finish(self, origin: Origin, outputs: list[Path], seconds: float) -> Record:
        """Records a finished cell.

        Raises:
            FileNotFoundError: If an output is not there.
        """
        hashes = {path.relative_to(self.root).as_posix(): hash_of(path) for path in outputs}
        content: dict[str, Any] = {
            "outputs": hashes,
            "seconds": seconds,
            "mlflow_run_id": self.run_id,
        }
        with replacing(self._path, origin) as beside:
            beside.write_text(json.dumps(content, indent=1))
        return Record(origin, **content)
