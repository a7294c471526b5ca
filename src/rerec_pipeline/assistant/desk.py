"""One worker for many requests: a bounded queue with a deadline, so that load cannot pile up."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rerec_pipeline.errors import ReRecError


class BusyError(ReRecError):
    """The queue is full: the caller should ask again later.

    Args:
        retry_after: Seconds after which it is worth trying.
    """

    def __init__(self, retry_after: int):
        self.retry_after = retry_after
        super().__init__(f"too many requests are waiting: try again in {retry_after} s")


class LateError(ReRecError):
    """A request that could not be answered before its deadline."""


class Cancelled(Exception):  # noqa: N818 - it is no error: nobody waits for the answer any more
    """Raised inside a job whose caller has left."""


@dataclass
class Job:
    """A request that waits for the worker, or is being answered.

    Attributes:
        work: Called with a function that takes pieces of text as they come.
        deadline: ``time.monotonic()`` after which nobody wants the answer.
        pieces: Pieces of text, then the result or the error that ended the job.
    """

    work: Callable[[Callable[[str], None]], Any]
    deadline: float
    pieces: queue.SimpleQueue[tuple[str, Any]] = field(default_factory=queue.SimpleQueue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def say(self, text: str) -> None:
        """Passes a piece on, or ends the work where nobody waits for it."""
        self.check()
        self.pieces.put(("text", text))

    def check(self) -> None:
        """Ends the work where nobody waits for it.

        Raises:
            Cancelled: If the caller has left.
            LateError: If the deadline is over.
        """
        if self.cancelled.is_set():
            raise Cancelled
        if time.monotonic() > self.deadline:
            raise LateError("the answer took longer than the server allows")

    def stream(self) -> Iterator[tuple[str, Any]]:
        """("text", piece) as it comes, and at last ("result", what the work returned).

        Raises:
            Exception: What the work raised.
        """
        while True:
            kind, value = self.pieces.get()
            if kind == "error":
                raise value
            yield kind, value
            if kind == "result":
                return


class Desk:
    """A queue of at most ``waiting`` jobs, and the thread that does them one after the other.

    The model computes on all cores already, so a second worker would make both slower.

    Args:
        waiting: Most jobs that wait; one more is refused.
        seconds: Time that a job has, its waiting included.
    """

    def __init__(self, waiting: int, seconds: float):
        self.seconds = seconds
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=waiting)
        self._thread = threading.Thread(target=self._work, name="assistant", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that wait now."""
        return self._jobs.qsize()

    def submit(self, work: Callable[[Callable[[str], None]], Any]) -> Job:
        """Puts a job into the queue.

        Raises:
            BusyError: If the queue is full.
        """
        job = Job(work, time.monotonic() + self.seconds)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise BusyError(retry_after=max(1, int(self.seconds / 4))) from None
        return job

    def close(self) -> None:
        """Ends the worker when the queue is empty."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.check()  # it may have waited too long
                job.pieces.put(("result", job.work(job.say)))
            except Cancelled:
                continue
            except Exception as error:
                job.pieces.put(("error", error))
