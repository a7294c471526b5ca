"""One writer at a time: what every running process of a project writes and reads.

A run leaves a claim in ``data/.runs``: for each folder that it works in, what it makes there. Two
runs can share a folder if what both make or read there is the very same; any other two can not, and
the second stops at once. A claim lasts as long as its process: the operating system holds its lock.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rerec_pipeline.errors import BadInputError, ReRecError
from rerec_pipeline.storage.writing import write_bytes

#: Claim on a folder that is only read: any number of runs may read it at once.
READ = "read"

#: What is made in a folder: one word for all of it, or output -> what it is made from.
Made = str | Mapping[str, str]


def exclusive() -> str:
    """A claim on a folder that no other run may use."""
    return secrets.token_hex(8)


class Claims:
    """The folders that this process works in, for other processes of the project to see.

    Args:
        folder: Where all of them leave their claims.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._mine = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = FileLock(self._mine.with_suffix(".lock"))

    def take(self, places: Mapping[str, Made]) -> None:
        """Claims folders, all or none.

        Args:
            places: Folder -> what is made there. Two runs may share it if what both make there is
                the same.

        Raises:
            BadInputError: If the folder of claims cannot be written.
            ReRecError: If a running process has claimed one of them for something else.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise BadInputError(
                self._folder, f"cannot be written: {exc.strerror}", remedy="A run writes there"
            ) from None
        with FileLock(self._folder / "all.lock"):
            for other in self._running():
                theirs = other["places"]
                taken = [p for p in places if p in theirs and _differ(places[p], theirs[p])]
                if taken:
                    raise ReRecError(
                        f"process {other['pid']} ({other['command']}), running since "
                        f"{other['since']}, works in {min(taken)}: two runs at once would mix up "
                        "their outputs. Wait until it has ended, or end it"
                    )
            self._lock.acquire()
            claim = {
                "pid": os.getpid(),
                "since": datetime.now().astimezone().isoformat(" ", "seconds"),
                "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
                "places": dict(places),
            }
            write_bytes(self._mine.with_suffix(".json"), json.dumps(claim, indent=1).encode())

    def release(self) -> None:
        """Gives up all that was claimed."""
        self._mine.with_suffix(".json").unlink(missing_ok=True)
        self._lock.release()
        self._mine.with_suffix(".lock").unlink(missing_ok=True)

    def _running(self) -> Iterator[dict[str, Any]]:
        """Claims of living processes; those that the dead have left are removed."""
        for path in sorted(self._folder.glob("*.json")):
            lock = FileLock(path.with_suffix(".lock"), timeout=0)
            try:
                with lock:
                    path.unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)
            except Timeout:
                with suppress(OSError, ValueError):
                    yield json.loads(path.read_text())


def _differ(one: Made, other: Made) -> bool:
    """Whether two runs make different things in a folder that both work in."""
    if isinstance(one, str) or isinstance(other, str):
        return one != other
    return any(one[name] != other[name] for name in one.keys() & other.keys())
