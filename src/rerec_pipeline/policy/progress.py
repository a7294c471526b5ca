"""One progress bar for training, with the numbers that say whether it learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer


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


def show_progress(trainer: Trainer, *shown: str) -> None:
    """Gives a trainer this bar in place of its own output."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(TrainingProgress(shown))
