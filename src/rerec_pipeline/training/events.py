"""What a job tells the process that follows it: a line of JSON for each event, and failures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.storage.writing import append_line, remove, write_bytes

_FILE = "events.jsonl"
_FAILURE = "failure-{}.json"


def failure_file(job: Path, rank: int) -> Path:
    """Where a rank writes why it has failed."""
    return job / _FAILURE.format(rank)


class Events:
    """The events of a JOB, written by rank 0 and read by whoever follows.

    Args:
        job: The folder.
    """

    def __init__(self, job: Path):
        self.job = job
        self._file = job / _FILE
        self._read = 0

    def begin(self) -> None:
        """Forgets the events of an earlier launch, and its failures."""
        remove(self._file)
        for file in self.job.glob(_FAILURE.format("*")):
            remove(file)

    def tell(self, **event: Any) -> None:
        """Adds an event."""
        append_line(self._file, json.dumps(event, default=float))

    def new(self) -> Iterator[dict[str, Any]]:
        """The events since the last call; a line that is still being written is left for later."""
        if not self._file.is_file():
            return
        with self._file.open("rb") as stream:
            stream.seek(self._read)
            whole = stream.read().rpartition(b"\n")[0]
        if whole:
            self._read += len(whole) + 1
            yield from map(json.loads, whole.split(b"\n"))

    @staticmethod
    def fail(file: Path, error: BaseException) -> None:
        """Writes why a rank has failed."""
        said = str(error)
        if not isinstance(error, ReRecError):  # of others, the first line of what may be many
            said = f"{type(error).__name__}: {said.strip().partition(chr(10))[0]}"
        write_bytes(file, json.dumps({"time": time.time(), "error": said}).encode())
