"""Errors for the user to read: each says where the problem is, what it is, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ReRecError(Exception):
    """Base class of every error this project raises on purpose."""


class BadInputError(ReRecError):
    """A file, record or field that cannot be used as it stands.

    Args:
        source: The file (or table) at fault, as the user knows it.
        problem: What is wrong, in words.
        record: The line number or record id inside ``source``, if there is one.
        field: The field inside the record, if there is one.
        remedy: What the user can do about it.
    """

    def __init__(
        self,
        source: object,
        problem: str,
        *,
        record: object | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.source = str(source)
        self.problem = problem
        self.record = record
        self.field = field
        self.remedy = remedy
        super().__init__(self._message())

    def _message(self) -> str:
        where = self.source
        if self.record is not None:
            where += f", {self.record}"
        if self.field is not None:
            where += f", field '{self.field}'"
        message = f"{where}: {self.problem}"
        return f"{message}. {self.remedy}" if self.remedy else message


class BadParameterError(ReRecError):
    """A parameter that is unknown, of the wrong type, or inconsistent with another."""


class MissingStageError(ReRecError):
    """An input of a pipeline that no run has made yet; names the command that makes it."""


class TrainingInterrupted(KeyboardInterrupt):
    """A training that was asked to stop and can be continued.

    Args:
        step: Step of its last checkpoint.
        steps: Number of steps of the whole training.
        unit: What a step is called in the message, e.g. ``epoch``.
    """

    def __init__(self, step: int, steps: int, unit: str = "step"):
        self.step, self.steps = step, steps
        super().__init__(
            f"interrupted: run the same command again to continue from {unit} {step} of {steps}"
        )


class JobSubmitted(KeyboardInterrupt):
    """A training that a cluster has to run: the same command continues once it has ended.

    Args:
        job: The folder of the job.
    """

    def __init__(self, job: object):
        super().__init__(
            f"the job is written to {job}: submit it as docs/scaling.md shows, and run the same "
            "command again when it has ended"
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: a similar known name, or all if they are few."""
    names = sorted(known)
    if close := get_close_matches(name, names, n=1):
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(names)}" if 0 < len(names) <= 20 else ""
