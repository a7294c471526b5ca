"""What every training shares: one progress bar with a few numbers, resuming, memory."""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from rerec_pipeline import processes


class TrainingProgress(ProgressCallback):
    """Shows a few metrics beside the bar instead of printing all of them at every step.

    Args:
        shown: Names of the metrics, as the trainer logs them.
    """

    def __init__(self, shown: Sequence[str]):
        super().__init__()
        self.shown = tuple(shown)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Puts the latest values beside the bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            values = {key: f"{float(logs[key]):.3f}" for key in self.shown if key in logs}
            self.training_bar.set_postfix(values)


class Stopwatch(TrainerCallback, ExportableState):
    """Seconds of training, those of interrupted parts up to their last checkpoint included."""

    def __init__(self) -> None:
        self._before = 0.0
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._since

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {}, "attributes": {"seconds": self.seconds}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts, from what the checkpoint says that is resumed from."""
        kept = state.stateful_callbacks.get(type(self).__name__)
        self._before = kept["attributes"]["seconds"] if state.global_step and kept else 0.0
        self._since = time.monotonic()


def show_progress(trainer: Trainer, *shown: str) -> None:
    """Gives a trainer this bar in place of its own output."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(TrainingProgress(shown))


def train_or_resume(trainer: Trainer, folder: Path) -> float:
    """Trains, from the last complete checkpoint if there is one.

    Args:
        trainer: What trains.
        folder: Where its checkpoints are. One that was cut off while it was written is removed.

    Returns:
        Seconds it took, those of interrupted parts up to their last checkpoint included.
    """
    if processes.is_main():
        _remove_cut_off(folder)
    processes.wait_for_all("checkpoints")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    watch = Stopwatch()
    trainer.add_callback(watch)
    trainer.train(resume_from_checkpoint=last)
    return watch.seconds


def peak_memory_bytes() -> int:
    """The most memory that was held, in bytes: of the GPU during training, if there is one.

    Without a GPU, the largest resident size of this process so far, its earlier stages included.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024  # macOS tells bytes


def _remove_cut_off(folder: Path) -> None:
    """Removes last checkpoints of which not all was written."""
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    while last is not None and not (Path(last) / TRAINER_STATE_NAME).is_file():
        shutil.rmtree(last)
        last = get_last_checkpoint(str(folder))
