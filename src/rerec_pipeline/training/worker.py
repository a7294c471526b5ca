"""One rank of a job: ``accelerate launch ... -m rerec_pipeline.training.worker JOB``.

All ranks run this module on the same JOB. Rank 0 writes the result, and tells the process that
has launched them what happens, in ``events.jsonl``; a rank that fails writes why.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from transformers import TrainerCallback

from rerec_pipeline import processes
from rerec_pipeline.errors import TrainingInterrupted
from rerec_pipeline.storage.writing import remove
from rerec_pipeline.training import ranks
from rerec_pipeline.training.events import Events, failure_file
from rerec_pipeline.training.jobs import KINDS, Answering, Training, read_settings
from rerec_pipeline.training.progress import STOP_FILE

#: Status of a rank that was asked to stop and has written a checkpoint (EX_TEMPFAIL).
INTERRUPTED = 75


class Reports(TrainerCallback):
    """Tells what a trainer tells, as events that another process passes on to its callbacks."""

    def __init__(self, events: Events):
        self.events = events

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells how many steps there are, and which is next."""
        self._tell("on_train_begin", state, steps=state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells that a step is done."""
        self._tell("on_step_end", state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Tells the numbers of a step."""
        self._tell("on_log", state, logs=logs)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells the end."""
        self._tell("on_train_end", state)

    def _tell(self, event: str, state: Any, **more: Any) -> None:
        if ranks.is_main():
            self.events.tell(event=event, step=state.global_step, **more)


class LogForwarder(logging.Handler):
    """Passes on what the package logs."""

    def __init__(self, events: Events):
        super().__init__()
        self.events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Tells one message."""
        self.events.tell(event="said", level=record.levelno, message=record.getMessage())


def main(job: Path) -> int:
    """Runs this rank's part of a JOB; gives its exit status."""
    processes.end_with_parent(signal.SIGKILL)  # a launcher that is killed leaves no rank behind
    ranks.join()
    events = Events(job)
    if ranks.is_main():
        events.begin()
        remove(job / STOP_FILE)
    _log(events)
    ranks.wait()
    try:
        _run(job, events)
    except TrainingInterrupted as exc:
        if ranks.is_main():
            events.tell(event="interrupted", step=exc.step, steps=exc.steps)
        ranks.wait()
        return INTERRUPTED
    except BaseException as exc:
        events.fail(failure_file(job, ranks.rank()), exc)
        raise
    ranks.wait()
    return 0


def _run(job: Path, events: Events) -> None:
    work: Any = KINDS[read_settings(job)["kind"]].read(job)
    if isinstance(work, Training):
        _let_cpus_shard()
        result: Any = work.run(job, [Reports(events)])
    else:
        assert isinstance(work, Answering)
        result = work.run()
    if ranks.is_main():
        work.write_result(job, result)


def _log(events: Events) -> None:
    """Rank 0 logs as the run does, to its log and to whoever follows; others log warnings."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    if ranks.is_main():
        package = logging.getLogger("rerec_pipeline")
        package.setLevel(logging.INFO)
        package.addHandler(LogForwarder(events))


def _let_cpus_shard() -> None:
    """Lets accelerate set FSDP up without GPUs, as it does with them; torch has it on both."""
    if torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_FSDP") != "true":
        return
    begin = AcceleratorState.__init__

    def begin_with_fsdp(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
        if PartialState().distributed_type == DistributedType.MULTI_CPU:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        begin(self, *args, **kwargs)

    AcceleratorState.__init__ = begin_with_fsdp


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
