"""The ranks of a launched job: which one this is, and the messages between them.

Without a launcher this process is rank 0 of 1, and every function returns at once.
"""

from __future__ import annotations

import logging
import signal
import threading
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

logger = logging.getLogger(__name__)

#: Longest wait for rank 0, which alone hashes checkpoints of gigabytes. A rank that fails is not
#: waited for: launchers then end the others.
_TIMEOUT = timedelta(hours=6)


def join() -> None:
    """Connects the ranks that a launcher has started: NCCL on GPUs, gloo without."""
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available(), timeout=_TIMEOUT)


def count() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this rank."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the rank that writes."""
    return rank() == 0


def wait() -> None:
    """Waits until all ranks are here."""
    if count() > 1:
        dist.barrier()


def share(value: Any) -> Any:
    """Gives every rank what rank 0 has."""
    if count() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def gather(value: Any) -> list[Any]:
    """Gives every rank what all have, in their order."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    return values


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a request to stop where training can be resumed.

    A second signal stops at once. Outside of the main thread, where Python takes no signals,
    nothing is changed.

    Args:
        says: What the log says will happen before the stop.
        file: A file whose existence is such a request, too.
    """

    def __init__(self, says: str, file: Path | None = None):
        self._says = says
        self._file = file
        self._asked = False
        self._before: dict[int, Any] = {}

    def is_set(self) -> bool:
        """Whether this process was asked to stop."""
        return self._asked or (self._file is not None and self._file.exists())

    def is_set_anywhere(self) -> bool:
        """Whether any rank was asked to stop; all ranks have to call it together."""
        return any(gather(self.is_set()))

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        logger.warning("Asked to stop: %s. Once more stops at once", self._says)
