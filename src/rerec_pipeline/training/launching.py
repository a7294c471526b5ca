"""The one door to training and answering: in this process, or as a job of several ranks."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

import rerec_pipeline
from rerec_pipeline import processes
from rerec_pipeline.errors import JobSubmitted, ReRecError, TrainingInterrupted
from rerec_pipeline.parameters import LaunchParameters
from rerec_pipeline.storage.checkpoints import Checkpoints
from rerec_pipeline.storage.writing import remove, write_bytes
from rerec_pipeline.training.events import Events, failure_file
from rerec_pipeline.training.fine_tuning import SHOWN, FineTuned
from rerec_pipeline.training.jobs import RESULT, Answering, Training
from rerec_pipeline.training.progress import STOP_FILE, TrainingProgress
from rerec_pipeline.training.ranks import StopRequest

logger = logging.getLogger(__name__)

LOG = "launch.log"
_WORKER = "rerec_pipeline.training.worker"
#: Seconds between two looks at a job.
_POLL = 0.2
#: What torch's launcher says of the rank that failed first.
_FIRST = re.compile(r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", re.DOTALL)

Event = Mapping[str, Any]


def train(
    work: Training,
    launch: LaunchParameters,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    """Fine-tunes in this process, or in those that the parameters ask for.

    Args:
        work: What is trained.
        launch: Where.
        folder: Of this training: its checkpoints, and its JOB.
        callbacks: Told of every logged step.

    Raises:
        TrainingInterrupted: If it was asked to end; a checkpoint has been written.
        JobSubmitted: If the JOB is to be run by a cluster and has no result yet.
        ReRecError: If a rank has failed.
    """
    if launch.preset is None:
        return work.run(folder, callbacks)
    work.write(folder)
    forward = _EventForwarder([TrainingProgress(SHOWN), *callbacks])
    if launch.submitted:
        if (tuned := work.read_result(folder)) is None:
            raise JobSubmitted(folder)
        for event in Events(folder).new():
            forward(event)
    else:
        remove(folder / RESULT)
        with StopRequest("finishing this step and writing a checkpoint") as stop:
            _run(folder, launch, forward, stop)
        tuned = work.read_result(folder)
        assert tuned is not None  # else a rank has failed
    Checkpoints(folder).finish()
    return tuned


def answer_all(work: Answering, launch: LaunchParameters) -> list[list[int]]:
    """Answers in this process, or in those that the parameters ask for, each a share.

    Each rank holds the whole policy. Of a preset that shares weights out for training, the number
    of processes counts; a cluster's job is a training, and its policy answers here.

    Args:
        work: What is asked of whom.
        launch: Where.

    Raises:
        ReRecError: If a rank has failed.
    """
    if launch.preset is None or launch.submitted:
        return work.run()
    job = Path(launch.jobs) / f"answering-{os.getpid()}"
    logger.info("%s: %d processes, log in %s", work.label, launch.processes, job / LOG)
    work.write(job)
    _run(job, launch.model_copy(update={"preset": "ddp"}), lambda event: None)
    answers = work.read_result(job)
    remove(job)
    return answers


class _EventForwarder:
    """Passes a job's events on to callbacks and to the log."""

    def __init__(self, callbacks: Sequence[TrainerCallback]):
        self.callbacks = callbacks
        self.state = TrainerState()

    def __call__(self, event: Event) -> None:
        name = event["event"]
        if name == "said":
            logger.log(event["level"], "%s", event["message"])
        elif name == "interrupted":
            raise TrainingInterrupted(event["step"], event["steps"])
        else:
            self.state.global_step = event["step"]
            self.state.max_steps = event.get("steps", self.state.max_steps)
            for callback in self.callbacks:
                getattr(callback, name)(None, self.state, None, logs=event.get("logs"))


def _run(
    job: Path,
    launch: LaunchParameters,
    told: Callable[[Event], None],
    stop: StopRequest | None = None,
) -> None:
    """Launches the ranks of a JOB and follows them to their end."""
    events = Events(job)
    events.begin()
    environment = {
        **processes.thread_settings(launch.processes),
        "PYTHONPATH": str(Path(rerec_pipeline.__file__).parents[1]),
    }
    log = job / LOG
    remove(log)
    process = processes.start(_command(job, launch), log, None, environment)
    try:
        while True:
            status = process.poll()  # before the events: what was told last is among them
            for event in events.new():
                told(event)
            if status is not None:
                break
            if stop is not None and stop.is_set():
                write_bytes(job / STOP_FILE, b"")  # again and again: ranks that begin remove it
            time.sleep(_POLL)
    finally:
        if process.poll() is None:
            processes.stop(process)
        remove(job / STOP_FILE)
    if status:
        raise ReRecError(explain_failure(job, launch, status))


def _command(job: Path, launch: LaunchParameters) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(launch.config_file), "--num_machines", "1"),
        *("--num_processes", str(launch.processes), "--main_process_port", str(port)),
        *("-m", _WORKER, str(job)),
    ]


def explain_failure(job: Path, launch: LaunchParameters, status: int) -> str:
    """Why a job has failed, in a sentence: the rank that failed first, and what it said."""
    log = job / LOG
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    if (first := _FIRST.search(text)) is None:
        return (
            f"the launcher ended with status {status} before any rank failed; the end of {log}:\n"
            f"{processes.read_tail(log)}"
        )
    rank, code = int(first[1]), int(first[2])
    said = f"it ended with status {code}"
    if code < 0:
        said = f"it was killed by signal {-code}"
        with suppress(ValueError):
            said += f" ({signal.Signals(-code).name})"
    elif (file := failure_file(job, rank)).is_file():
        said = json.loads(file.read_text())["error"]
    return (
        f"rank {rank} of {launch.processes} failed: {said.rstrip('.')}. All that the ranks said is "
        f"in {log}. Run the same command again to continue from the last checkpoint"
    )
