"""What stands on disk about cells: the record of a finished one, the attempt at another."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerec_pipeline.storage.records import Origin, hash_of, record_path
from rerec_pipeline.storage.writing import remove, write_bytes


def write_json(path: Path, content: Any) -> None:
    """Writes a file beside, then renames it: a reader sees the old one or the new one."""
    write_bytes(path, json.dumps(content, indent=1).encode())


def read_json(path: Path) -> Any:
    """Content of a file; None if there is none."""
    return json.loads(path.read_text()) if path.is_file() else None


@dataclass(frozen=True)
class Record:
    """What is written beside the outputs of a cell once all of them are there.

    Attributes:
        fingerprint: What it followed from.
        outputs: Output -> hash of its content.
        seconds: From start to end, of the attempt that finished it.
        mlflow_run_id: Its run, where it was logged to MLflow.
    """

    fingerprint: Origin
    outputs: dict[str, str]
    seconds: float
    mlflow_run_id: str | None


class CellFolder:
    """What is known of one cell, in the reporting folder of its run.

    Args:
        root: The project's folder.
        run: Folder of the run below every layer.
    """

    def __init__(self, root: Path, run: str):
        self.root = root
        self._record = root / "data/08_reporting" / run / "cell.json"
        self._attempt = self._record.with_name("attempt.json")
        self.run_id_file = self._record.with_name("mlflow_run_id.txt")

    @property
    def run_id(self) -> str | None:
        """The MLflow run of the last attempt."""
        return self.run_id_file.read_text().strip() if self.run_id_file.is_file() else None

    def read(self) -> Record | None:
        """The record of a finished cell; None where there is none."""
        content = read_json(self._record)
        if content is None:
            return None
        return Record(**{**content, "fingerprint": Origin(**content["fingerprint"])})

    def what_is_missing(self, record: Record) -> str:
        """Which outputs are not there as they were recorded, in words; empty if all are."""
        for name, content in record.outputs.items():
            path = self.root / name
            if not path.exists():
                return f"{name} is gone"
            if hash_of(path) != content:
                return f"{name} has been written by another run"
        return ""

    def begin(self, fingerprint: Origin, outputs: list[Path], checkpoints: Path) -> bool:
        """Prepares an attempt; says whether it goes on with an interrupted one.

        What is left of an attempt at something else, its checkpoints and outputs, is removed:
        nothing of it may be taken for a part of this one.
        """
        if read_json(self._attempt) == {"digest": fingerprint.digest}:
            return True
        remove(self._record)
        for path in outputs:
            remove(record_path(path))
        for path in (*outputs, checkpoints, self.run_id_file):
            remove(path)
        write_json(self._attempt, {"digest": fingerprint.digest})
        return False

    def forget(self) -> None:
        """Makes the cell as if it had never been begun."""
        remove(self._record)
        remove(self._attempt)

    def finish(self, fingerprint: Origin, outputs: list[Path], seconds: float) -> Record:
        """Records a finished cell.

        Raises:
            FileNotFoundError: If an output is not there.
        """
        hashes = {path.relative_to(self.root).as_posix(): hash_of(path) for path in outputs}
        record = Record(fingerprint, hashes, seconds, self.run_id)
        write_json(self._record, asdict(record))
        remove(self._attempt)
        return record
