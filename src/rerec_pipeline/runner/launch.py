"""What an experiment is among processes: one lock, an end by signal, its share of the cores."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.storage.writing import open_to_append


@contextmanager
def hold_lock(path: Path) -> Iterator[int]:
    """Lets one experiment run on a project at a time.

    The lock is the file descriptor's, and children inherit it: if this process is killed, the
    lock lasts as long as any of them.

    Yields:
        The descriptor that children are to inherit.

    Raises:
        ReRecError: If another experiment is running.
    """
    with open_to_append(path) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReRecError(
                f"another experiment is running on this project ({path.read_text()}). Wait "
                "until it has ended, or end it; what it has finished is not run again"
            ) from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()}".encode())
        handle.flush()
        yield handle.fileno()


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes a request to end (SIGTERM) what Ctrl-C is."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
