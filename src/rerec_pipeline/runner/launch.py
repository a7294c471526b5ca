"""Processes of an experiment: one lock, children that end with it, their logs."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.storage.writing import open_to_append

#: Seconds that a process is given to end before it is killed.
_GRACE = 10.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


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


def start(
    command: Sequence[str], log: Path, cwd: Path, environment: Mapping[str, str], lock: int
) -> subprocess.Popen[bytes]:
    """Starts a process that writes what it says to a log and ends when this one does."""
    with open_to_append(log) as stream:
        return subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env={**os.environ, **environment},
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C is ours to pass on
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - one thread starts all processes
        )


def _end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and those that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
            return


def read_tail(log: Path, lines: int = 15) -> str:
    """Last lines of a log; of a progress bar its last state."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    said = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n")]
    return "\n".join([line for line in said if line][-lines:])


def thread_settings(jobs: int) -> dict[str, str]:
    """Shares the cores out to cells that run at once; what the user has set stays."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = {
        "OMP_NUM_THREADS": str(max(1, (cores or 1) // jobs)),
        "TQDM_MININTERVAL": "10",  # a log needs no bar that moves
    }
    return {key: value for key, value in wanted.items() if key not in os.environ}
