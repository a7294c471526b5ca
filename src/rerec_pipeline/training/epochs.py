"""Trainings of small models, epoch by epoch, that can be interrupted and continued."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rerec_pipeline.errors import TrainingInterrupted
from rerec_pipeline.storage.checkpoints import Checkpoints
from rerec_pipeline.training.ranks import StopRequest

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
State = dict[str, Any]


def fit_or_resume(
    fit: Callable[[State | None, Callable[[State], None]], Result], folder: Path, epochs: int
) -> Result:
    """Trains, from the last checkpoint that is whole and unchanged if there is one.

    Args:
        fit: Takes where an earlier call was (or None) and what to call after each validation
            with all that it takes to continue, its ``epoch`` included.
        folder: Where the checkpoints of this very training are.
        epochs: How many there are at most.

    Raises:
        TrainingInterrupted: If it was asked to end; a checkpoint has been written.
    """
    checkpoints = Checkpoints(folder, ".pt")
    last = checkpoints.newest()
    with StopRequest("training on to the next validation, for a checkpoint") as stop:

        def keep(state: State) -> None:
            checkpoints.keep(state["epoch"], state)
            if stop.is_set() and state["epoch"] < epochs:
                interrupted = TrainingInterrupted(state["epoch"], epochs, "epoch")
                logger.warning("Training was %s", interrupted)
                raise interrupted

        result = fit(None if last is None else checkpoints.load(last), keep)
    checkpoints.finish()
    return result
