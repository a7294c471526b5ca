"""What every training shares: one progress bar with a few numbers, resuming, memory."""

from __future__ import annotations

import json
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

from rerec_pipeline.errors import BadInputError, BadParameterError, TrainingInterrupted
from rerec_pipeline.storage.checkpoints import Checkpoints
from rerec_pipeline.storage.writing import is_full, write_bytes
from rerec_pipeline.training import ranks
from rerec_pipeline.training.ranks import StopRequest

logger = logging.getLogger(__name__)

#: In a checkpoint: how many ranks have written it, and how its weights are shared out to them.
LAUNCH_FILE = "launch.json"

#: A file in the folder of a training that asks it to stop, as Ctrl-C does.
STOP_FILE = "stop"


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
    """Seals every checkpoint once all ranks have written theirs, and obeys a request to stop.

    Args:
        checkpoints: Where they are.
        stop: Set when the user, or the system, asks for the end.
        launch: What ``LAUNCH_FILE`` is to say.
    """

    def __init__(self, checkpoints: Checkpoints, stop: StopRequest, launch: dict[str, Any]):
        self.checkpoints = checkpoints
        self.stop = stop
        self.launch = launch

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called when the trainer has written a checkpoint."""
        ranks.wait()
        if ranks.is_main():
            folder = self.checkpoints.path(state.global_step)
            write_bytes(folder / LAUNCH_FILE, json.dumps(self.launch).encode())
            self.checkpoints.seal(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ends the training with a checkpoint when that is asked for."""
        if self.stop.is_set_anywhere():
            control.should_save = control.should_training_stop = True


def show_progress(trainer: Trainer, *shown: str) -> None:
    """Gives a trainer this bar in place of its own output."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(TrainingProgress(shown))


def sharding(trainer: Trainer) -> str:
    """How weights and optimizer are shared out to ranks: ``none``, ``fsdp`` or ``zero3``, say."""
    if trainer.is_fsdp_enabled:
        return "fsdp"
    deepspeed = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return "none" if deepspeed is None else f"zero{deepspeed.zero_stage}"


def check_launch(last: Path, now: dict[str, Any], rank_bound: str | None) -> None:
    """Refuses to resume where the numbers, or the form of the weights, would be others."""
    file = last / LAUNCH_FILE
    before = json.loads(file.read_text()) if file.is_file() else now
    anew = f"or delete {last.parent} to begin anew"
    if before["sharding"] != now["sharding"]:
        raise BadParameterError(
            f"{last.name} was written with weights shared out as '{before['sharding']}', and this "
            f"launch shares them out as '{now['sharding']}': resume it with the launch.preset that "
            f"it was begun with, {anew}"
        )
    if before["ranks"] != now["ranks"] and rank_bound is not None:
        raise BadParameterError(
            f"{last.name} was written by {before['ranks']} processes, and with {now['ranks']} the "
            f"training would go on with other numbers, because {rank_bound}: resume it with "
            f"launch.processes={before['ranks']}, {anew}"
        )


def train_or_resume(trainer: Trainer, folder: Path, rank_bound: str | None = None) -> float:
    """Trains, from the last checkpoint that is whole and unchanged if there is one.

    Ctrl-C, SIGTERM and a file ``stop`` in the folder end it after the step that is being made,
    with a checkpoint.

    Args:
        trainer: What trains.
        folder: Where its checkpoints are. Two are kept; they are removed once the results are
            on the disk (``storage.checkpoints.remove_finished``).
        rank_bound: Why its numbers depend on the number of ranks; None if they do not.

    Returns:
        Seconds it took, those of interrupted parts up to their last checkpoint included.

    Raises:
        TrainingInterrupted: If it was asked to end.
        BadInputError: If there is no room for a checkpoint.
        BadParameterError: If the checkpoint is of another launch and can not be resumed.
    """
    checkpoints = Checkpoints(folder)
    last = ranks.share(checkpoints.newest() if ranks.is_main() else None)
    launch = {"ranks": ranks.count(), "sharding": sharding(trainer)}
    if last is not None:
        check_launch(last, launch, rank_bound)
    trainer.args.save_total_limit = None  # its own rotation goes by the clock
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    watch = Stopwatch()
    trainer.add_callback(watch)
    says = "finishing this step and writing a checkpoint"
    with StopRequest(says, folder / STOP_FILE) as stop:
        trainer.add_callback(TrustedCheckpoints(checkpoints, stop, launch))
        try:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        except Exception as exc:
            if not is_full(exc):
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
    if ranks.is_main():
        checkpoints.finish()
    return watch.seconds


def peak_memory_bytes() -> int:
    """The most memory that was held, in bytes: of the GPU during training, if there is one.

    Without a GPU, the largest resident size of this process so far, its earlier stages included.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024  # macOS tells bytes
