"""One worker for many requests: a bounded queue with deadlines, answered several at a time."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from rerec_pipeline.assistant.assistant import Answer, Request
from rerec_pipeline.errors import ReRecError

#: Seconds between looks at whether a client is still there.
_LOOK = 0.2

Answering = Callable[[Sequence[Request]], Sequence[Answer]]


class BusyError(ReRecError):
    """The queue is full: the caller should ask again later.

    Args:
        retry_after: Seconds after which it is worth trying.
    """

    def __init__(self, retry_after: int):
        self.retry_after = retry_after
        super().__init__(f"too many requests are waiting: try again in {retry_after} s")


class DeadlineError(ReRecError):
    """A request that could not be answered before its deadline."""

    def __init__(self) -> None:
        super().__init__("the answer took longer than the server allows")


class ClientGoneError(ReRecError):
    """The client has closed the connection before its answer was made."""


@dataclass
class Job:
    """A request that waits for the worker, or is being answered; made within an event loop.

    Attributes:
        request: What is asked.
        deadline: ``time.monotonic()`` after which nobody wants the answer.
        streams: Whether the reasoning is passed on as it is written.
        cancelled: Set where nobody waits any more: the work for it is dropped.
    """

    request: Request
    deadline: float
    streams: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _told: asyncio.Queue[tuple[str, Any]] = field(default_factory=asyncio.Queue)

    def tell(self, kind: str, value: Any) -> None:
        """Passes on ("text", piece), ("result", answer) or ("error", exception); of any thread."""
        with suppress(RuntimeError):  # the event loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._told.put_nowait, (kind, value))

    def is_late(self) -> bool:
        """Whether the deadline is over."""
        return time.monotonic() > self.deadline

    def asked(self) -> Request:
        """The request as the assistant is to answer it."""
        return replace(
            self.request,
            on_text=(lambda text: self.tell("text", text)) if self.streams else None,
            gone=lambda: self.cancelled.is_set() or self.is_late(),
        )

    async def stream(self) -> AsyncIterator[tuple[str, Any]]:
        """("text", piece) as it comes, and at last ("result", the answer).

        Raises:
            Exception: What the work raised.
        """
        kind = "text"
        try:
            while kind == "text":
                kind, value = await self._told.get()
                if kind == "error":
                    raise value
                yield kind, value
        finally:
            self.cancelled.set()

    async def result(self, is_gone: Callable[[], Awaitable[bool]]) -> Answer:
        """The answer.

        Args:
            is_gone: Whether the client has left; asked every now and then.

        Raises:
            ClientGoneError: If it has.
        """
        found = asyncio.ensure_future(self._last())
        while not (await asyncio.wait({found}, timeout=_LOOK))[0]:
            if await is_gone():
                found.cancel()
                self.cancelled.set()
                raise ClientGoneError("the client has left")
        return found.result()

    async def _last(self) -> Answer:
        *_, (_, answer) = [told async for told in self.stream()]
        found: Answer = answer
        return found


class RequestQueue:
    """A queue of at most ``waiting`` jobs, and the thread that answers them, several at a time.

    What has come in while a batch was answered is the next batch. The model computes on all cores
    already, so a second worker would make both slower.

    Args:
        answer: Answers several requests at once, e.g. ``Assistant.answer``.
        waiting: Most jobs that wait; one more is refused.
        seconds: Time that a job has, its waiting included.
        batch: Most jobs that are answered at once.
        on_batch: Called with the size of every batch.
    """

    def __init__(
        self,
        answer: Answering,
        waiting: int,
        seconds: float,
        batch: int = 8,
        on_batch: Callable[[int], None] = lambda size: None,
    ):
        self.seconds = seconds
        self.batch = batch
        self._answer = answer
        self._on_batch = on_batch
        self._took = 1.0
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=waiting)
        self._thread = threading.Thread(target=self._work, name="assistant", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that wait now."""
        return self._jobs.qsize()

    def submit(self, request: Request, streams: bool = False) -> Job:
        """Puts a request into the queue.

        Raises:
            BusyError: If the queue is full.
        """
        job = Job(request, time.monotonic() + self.seconds, streams)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            batches = 1 + self._jobs.qsize() / self.batch
            raise BusyError(retry_after=math.ceil(self._took * batches)) from None
        return job

    def close(self) -> None:
        """Ends the worker when the queue is empty."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs = [first]
            with suppress(queue.Empty):
                while len(jobs) < self.batch and (job := self._jobs.get_nowait()) is not None:
                    jobs.append(job)
                if len(jobs) < self.batch:  # it was told to end
                    self._jobs.put(None)
            start = time.monotonic()
            self._do(jobs)
            self._took = 0.8 * self._took + 0.2 * (time.monotonic() - start)

    def _do(self, jobs: Sequence[Job]) -> None:
        """Answers jobs; where one of several cannot be answered, the others are, each alone."""
        waited_for = [job for job in jobs if not (job.cancelled.is_set() or job.is_late())]
        for job in jobs:
            if job.is_late():  # while it was waiting
                job.tell("error", DeadlineError())
        if not waited_for:
            return
        self._on_batch(len(waited_for))
        try:
            answers = self._answer([job.asked() for job in waited_for])
        except Exception as error:
            if len(waited_for) == 1:
                waited_for[0].tell("error", error)
            else:
                for job in waited_for:
                    self._do([job])
            return
        for job, answer in zip(waited_for, answers, strict=True):
            job.tell("error", DeadlineError()) if job.is_late() else job.tell("result", answer)
