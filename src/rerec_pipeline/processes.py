"""Processes that this one starts: they end when it ends, and what they say goes to a log."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rerec_pipeline.storage.writing import open_to_append

#: Seconds that a process is given to end before it is killed.
_GRACE = 10.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


def start(
    command: Sequence[str],
    log: Path,
    cwd: Path | None,
    environment: Mapping[str, str],
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts a process that writes what it says to a log and ends when this one does.

    Args:
        command: What is run.
        log: Where its output is appended.
        cwd: Where it runs; None for the folder of this process.
        environment: Added to the environment of this process.
        inherited: File descriptors that it keeps, e.g. of a lock.
    """
    with open_to_append(log) as stream:
        return subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env={**os.environ, **environment},
            pass_fds=inherited,
            start_new_session=True,  # Ctrl-C is ours to pass on
            preexec_fn=end_with_parent,  # noqa: PLW1509 - one thread starts all processes
        )


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Lets this process get a signal when the one that has started it ends (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)


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
    """Shares the cores out to processes that run at once; what the user has set stays."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = {
        "OMP_NUM_THREADS": str(max(1, (cores or 1) // jobs)),
        "TQDM_MININTERVAL": "10",  # a log needs no bar that moves
    }
    return {key: value for key, value in wanted.items() if key not in os.environ}
