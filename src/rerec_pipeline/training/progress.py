"""What every training shares: one progress bar with a few numbers, resuming, memory."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer
from transformers.trainer_callback import ExportableState, TrainerCallback

from rerec_pipeline import processes
from rerec_pipeline.errors import BadInputError, TrainingInterrupted
from rerec_pipeline.processes import StopRequest
from rerec_pipeline.storage.checkpoints import Checkpoints

logger = logging.getLogger(__name__)


class TrainingProgress(ProgressCallback):
    """Shows a few metrics beside the bar instead of printing all of them at every step.

    Args:
        shown: Names of the metrics, as the trainer logs them.
    """

    def __init__(self, shown: Sequence[str]):
        super().__init__()
        self.shown = tuple(shown)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Opens the bar, under a title."""
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description("Training")

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


class TrustedCheckpoints(TrainerCallback):
    """Seals every checkpoint once all processes have written theirs, and obeys a request to stop.

    Args:
        checkpoints: Where they are.
        stop: Set when the user, or the system, asks for the end.
    """

    def __init__(self, checkpoints: Checkpoints, stop: StopRequest):
        self.checkpoints = checkpoints
        self.stop = stop

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called when the trainer has written a checkpoint."""
        processes.wait_for_all(f"checkpoint {state.global_step}")
        if processes.is_main():
            self.checkpoints.seal(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ends the training with a checkpoint when that is asked for."""
        if self.stop.is_set():
            control.should_save = control.should_training_stop = True


def show_progress(trainer: Trainer, *shown: str) -> None:
    """Gives a trainer this bar in place of its own output."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(TrainingProgress(shown))


def train_or_resume(trainer: Trainer, folder: Path) -> float:
    """Trains, from the last checkpoint that is whole and unchanged if there is one.

    Ctrl-C and SIGTERM end it after the step that is being made, with a checkpoint.

    Args:
        trainer: What trains.
        folder: Where its checkpoints are. Two are kept; they are removed once the results are
            on the disk (``storage.checkpoints.remove_finished``).

    Returns:
        Seconds it took, those of interrupted parts up to their last checkpoint included.

    Raises:
        TrainingInterrupted: If it was asked to end.
        BadInputError: If there is no room for a checkpoint.
    """
    checkpoints = Checkpoints(folder)
    last = checkpoints.newest() if processes.is_main() else None
    last = processes.share(last)
    trainer.args.save_total_limit = None  # its own rotation goes by the clock
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    watch = Stopwatch()
    trainer.add_callback(watch)
    with StopRequest("finishing this step and writing a checkpoint") as stop:
        trainer.add_callback(TrustedCheckpoints(checkpoints, stop))
        try:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        except (OSError, RuntimeError) as exc:
            if not _is_full(exc):
                raise
            raise BadInputError(
                folder,
                f"the disk is full at step {trainer.state.global_step}",
                remedy="Free some space and run the same command again: it continues from the "
                "checkpoint before",
            ) from exc
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if step < steps:
        interrupted = TrainingInterrupted(step, steps)
        logger.warning("Training was %s", interrupted)
        raise interrupted
    if processes.is_main():
        checkpoints.finish()
    return watch.seconds


def _is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space, which each library words in its own way."""
    said = str(error)
    return "No space left" in said or "PytorchStreamWriter failed writing" in said


def peak_memory_bytes() -> int:
    """The most memory that was held, in bytes: of the GPU during training, if there is one.

    Without a GPU, the largest resident size of this process so far, its earlier stages included.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024  # macOS tells bytes
