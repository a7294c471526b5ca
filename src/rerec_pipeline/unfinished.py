"""What an interrupted training of a small model has left, so that the next one goes on from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from rerec_pipeline import processes
from rerec_pipeline.storage.writing import swap_in


class UnfinishedTraining:
    """The state of a training, in a file that is named by all that the training depends on.

    So a training with other data or settings finds nothing, and one with the same goes on.

    Args:
        folder: Where such files are.
        depends_on: Content of everything that the training follows from, in a fixed order.
    """

    def __init__(self, folder: Path, depends_on: Iterable[bytes]):
        name = hashlib.sha256()
        for content in depends_on:
            name.update(hashlib.sha256(content).digest())
        self._file = folder / f"{name.hexdigest()[:16]}.pt"

    def load(self) -> dict[str, Any] | None:
        """The last state that was kept; None if there is none."""
        if not self._file.is_file():
            return None
        state: dict[str, Any] = torch.load(self._file, weights_only=True)
        return state

    def keep(self, state: dict[str, Any]) -> None:
        """Keeps tensors and plain values, in place of what was kept before."""
        if processes.is_main():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside = self._file.with_suffix(".partial")
            torch.save(state, beside)
            swap_in(beside, self._file)

    def finish(self) -> None:
        """Removes the state: only an unfinished training goes on."""
        if processes.is_main():
            self._file.unlink(missing_ok=True)
