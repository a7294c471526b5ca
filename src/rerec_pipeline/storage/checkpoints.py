"""Checkpoints that can be trusted: sealed with a record, two kept, removed when they are done with.

A training has a folder of its own, named by the fingerprint of all that the training follows
from, so one with other data or settings finds nothing there. In it are ``checkpoint-<step>``
folders or files. A checkpoint counts once its record is written, which comes last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rerec_pipeline.storage.records import discard, hash_of, problem_of, replacing, seal

logger = logging.getLogger(__name__)

_KEPT = 2
_finished: list[Path] = []


def fingerprint(*parts: Any) -> str:
    """A name for all that something follows from, the same on every machine.

    Args:
        *parts: Tables, arrays, settings, plain values. Of settings, ``checkpoint_dir`` is left
            out, and files and folders count by their content, not by where they are.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(_content(part)).digest())
    return digest.hexdigest()


def _content(part: Any) -> bytes:
    if hasattr(part, "to_json"):  # a table
        return str(part.to_json()).encode()
    if hasattr(part, "tobytes"):  # an array
        return f"{part.dtype}{part.shape}".encode() + bytes(part.tobytes())
    if isinstance(part, BaseModel):
        part = part.model_dump(mode="json")
    return json.dumps(_by_content(part), sort_keys=True, default=str).encode()


def _by_content(value: Any) -> Any:
    """A value with the hash of the content in place of every absolute path."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if key != "checkpoint_dir"}
        return {key: _by_content(inner) for key, inner in kept.items()}
    if isinstance(value, list | tuple):
        return [_by_content(inner) for inner in value]
    if isinstance(value, str) and value.startswith("/") and (path := Path(value)).exists():
        return hash_of(path)
    return value


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: Where they are, and nothing else.
        suffix: How their names end: nothing for folders, e.g. ``.pt`` for files.
    """

    def __init__(self, folder: Path, suffix: str = ""):
        self.folder = folder
        self._suffix = suffix

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.folder / f"checkpoint-{step}{self._suffix}"

    def newest(self) -> Path | None:
        """The last checkpoint that is whole and unchanged; later ones are named and removed."""
        for step in reversed(self._steps()):
            path = self.path(step)
            if not (problem := problem_of(path, reread=True)):
                return path
            logger.warning("%s %s; it is removed and not used", path, problem)
            discard(path)
        return None

    def seal(self, step: int) -> None:
        """Makes a checkpoint count that has been written completely; removes those before it."""
        seal(self.path(step))
        self._rotate()

    def keep(self, step: int, state: dict[str, Any]) -> None:
        """Writes tensors and plain values as the checkpoint of a step."""
        import torch

        with replacing(self.path(step)) as beside:
            torch.save(state, beside)
        self._rotate()

    @staticmethod
    def load(path: Path) -> dict[str, Any]:
        """What ``keep`` was given for a checkpoint."""
        import torch

        return dict(torch.load(path, map_location="cpu", weights_only=True))

    def finish(self) -> None:
        """Lets the checkpoints go as soon as what the training has made is on the disk."""
        _finished.append(self.folder)

    def _steps(self) -> list[int]:
        pattern = re.compile(rf"checkpoint-(\d+){re.escape(self._suffix)}")
        inside = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(int(match[1]) for p in inside if (match := pattern.fullmatch(p.name)))

    def _rotate(self) -> None:
        for step in self._steps()[:-_KEPT]:
            discard(self.path(step))


def remove_finished() -> None:
    """Removes the checkpoints of trainings whose results are on the disk, with their records."""
    while _finished:
        folder = _finished.pop()
        shutil.rmtree(folder, ignore_errors=True)
