"""Several processes that train one policy together; without a launcher there is one, the main one.

A launcher (``torchrun``, ``accelerate launch``) starts the whole command once for each GPU. Every
process then runs the same nodes in the same order on the same inputs, and only the main one
writes: what is saved, logged and shown exists once. Processes wait for each other before each
node and after each saved output, so that none reads a file which is still being written.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any

from rerec_pipeline.errors import ReRecError

if TYPE_CHECKING:  # torch is imported where it is needed: the command line asks is_main(), too
    import torch

logger = logging.getLogger(__name__)

#: Longest wait for the main process, which alone copies a policy of gigabytes to MLflow. A process
#: that fails is not waited for: launchers then end the others.
_PATIENCE = timedelta(hours=6)


def count() -> int:
    """Processes of this launch, as launchers tell them; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the process that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def device() -> torch.device:
    """The accelerator of this process, or the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def free_memory() -> None:
    """Gives back what a trainer has held: its parts refer to one another, so it outlives its use.

    The optimizer of a 3 B policy alone takes 25 GB, which evaluation has use for.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def join() -> None:
    """Connects the processes of a launch; does nothing without a launcher."""
    if count() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)


def wait_for_all(where: str) -> None:
    """Waits until all processes are at the same place of the run.

    Args:
        where: Name of the place, e.g. of a node.

    Raises:
        ReRecError: If another process waits at another place: their inputs were not the same.
    """
    if count() == 1:
        return
    import torch.distributed as dist

    places: list[str] = [""] * count()
    dist.all_gather_object(places, where)
    if set(places) != {where}:
        raise ReRecError(f"the processes of this launch have parted: they are at {places}")


def share(value: Any) -> Any:
    """Gives every process what the main one has."""
    if count() == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a request to stop at the next good place.

    A second signal stops at once. Outside of the main thread, where Python takes no signals,
    nothing is changed.

    Args:
        says: What is done before stopping, in words.
    """

    def __init__(self, says: str):
        self._says = says
        self._asked = False
        self._before: dict[int, Any] = {}

    def is_set(self) -> bool:
        """Whether any process was asked to stop; all processes have to call it together."""
        if count() == 1:
            return self._asked
        import torch.distributed as dist

        asked: list[bool] = [False] * count()
        dist.all_gather_object(asked, self._asked)
        return any(asked)

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
        if is_main():
            logger.warning("Asked to stop: %s. Once more stops at once", self._says)
