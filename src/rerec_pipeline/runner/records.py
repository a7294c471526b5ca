"""What stands on disk about cells: the record of a finished one, the attempt at another."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerec_pipeline.experiments.fingerprint import Fingerprint
from rerec_pipeline.storage.writing import remove, write_bytes


def write_json(path: Path, content: Any) -> None:
    """Writes a file beside, then renames it: a reader sees the old one or the new one."""
    write_bytes(path, json.dumps(content, indent=1).encode())


def read_json(path: Path) -> Any:
    """Content of a file; None if there is none."""
    return json.loads(path.read_text()) if path.is_file() else None


def hash_content(path: Path, root: Path) -> str:
    """Hash of a file, or of all files in a folder with their names.

    Args:
        path: File or folder.
        root: The project's folder; where JSON names it, that does not count.
    """
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(file.relative_to(path).as_posix().encode())
        if file.suffix == ".json":
            digest.update(file.read_bytes().replace(root.as_posix().encode(), b"."))
            continue
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """What is written beside the outputs of a cell once all of them are there.

    Attributes:
        fingerprint: What it followed from.
        outputs: Output file -> hash of its content; folders only have to be there.
        seconds: From start to end, of the attempt that finished it.
        mlflow_run_id: Its run, where MLflow was told.
    """

    fingerprint: Fingerprint
    outputs: dict[str, str | None]
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
        return Record(**{**content, "fingerprint": Fingerprint(**content["fingerprint"])})

    def what_is_missing(self, record: Record) -> str:
        """Which outputs are not there as they were recorded, in words; empty if all are."""
        for name, content in record.outputs.items():
            path = self.root / name
            if not path.exists():
                return f"{name} is gone"
            if content is not None and hash_content(path, self.root) != content:
                return f"{name} has been written by another run"
        return ""

    def begin(self, fingerprint: Fingerprint, outputs: list[Path], checkpoints: Path) -> bool:
        """Prepares an attempt; says whether it goes on with an interrupted one.

        What is left of an attempt at something else, its checkpoints and outputs, is removed:
        nothing of it may be taken for a part of this one.
        """
        if read_json(self._attempt) == {"digest": fingerprint.digest}:
            return True
        remove(self._record)
        for path in outputs:
            remove(path)
        shutil.rmtree(checkpoints, ignore_errors=True)
        remove(self.run_id_file)
        write_json(self._attempt, {"digest": fingerprint.digest})
        return False

    def forget(self) -> None:
        """Makes the cell as if it had never been begun."""
        remove(self._record)
        remove(self._attempt)

    def finish(self, fingerprint: Fingerprint, outputs: list[Path], seconds: float) -> Record:
        """Records a finished cell.

        Raises:
            FileNotFoundError: If an output is not there.
        """
        hashes = {
            path.relative_to(self.root).as_posix(): None
            if path.is_dir()
            else hash_content(path, self.root)
            for path in outputs
        }
        record = Record(fingerprint, hashes, seconds, self.run_id)
        write_json(self._record, asdict(record))
        remove(self._attempt)
        return record
