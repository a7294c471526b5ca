"""Errors of commands, as a user reads them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from click import ClickException
from kedro.config import MissingConfigException
from kedro.io import DatasetError

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.storage.writing import is_full

#: Environment variable that shows tracebacks.
TRACEBACK = "REREC_TRACEBACK"

_AGAIN = "Run the same command again to continue"
#: What can be done about an error of the system.
_SYSTEM = {
    errno.ENOSPC: f"the disk is full. Free some space. {_AGAIN}",
    errno.EDQUOT: f"the disk quota is used up. Free some space. {_AGAIN}",
    errno.EROFS: "the file system is read-only. Make it writable, or run in a copy of the project",
    errno.EACCES: "permission denied. Make it readable and writable for your user",
    errno.EPERM: "the operation is not permitted. Make it writable for your user",
}


class Interrupted(ClickException):
    """A run that the user ended."""

    exit_code = 130


@contextmanager
def errors_shown(traceback: bool = False) -> Iterator[None]:
    """Shows the errors that a user is meant to read as one message, without a traceback.

    Args:
        traceback: Show it all the same; so does ``REREC_TRACEBACK=1`` in the environment.

    Raises:
        ClickException: In place of such an error. What is an error of the project stays as it is.
    """
    try:
        yield
    except KeyboardInterrupt as exc:  # a training says where it can be continued
        raise Interrupted(str(exc) or f"interrupted. {_AGAIN}") from None
    except Exception as exc:
        message = None if traceback or os.environ.get(TRACEBACK) else explain_error(exc)
        if message is None:
            raise
        raise ClickException(message) from None


def explain_error(error: BaseException) -> str | None:
    """What a user is told of an error; None for one that only a developer can do something about.

    Kedro wraps what a data set raises, so causes count, too.
    """
    chain = [*_causes(error)]
    for exc in chain:
        if isinstance(exc, ReRecError):
            return str(exc)
    for exc in chain:
        number = errno.ENOSPC if is_full(exc) else getattr(exc, "errno", None)
        if number in _SYSTEM:
            path = getattr(exc, "filename", None) or _path_in(chain)
            return f"{path}: {_SYSTEM[number]}" if path else _SYSTEM[number]
        if type(exc).__name__ == "OutOfMemoryError":
            return (
                "the GPU has not enough memory. Lower rft.budget.micro_batch, "
                "rft.generation.batch_size or evaluation.batch_size"
            )
        if isinstance(exc, MissingConfigException):
            return str(exc).splitlines()[0]
    if isinstance(error, DatasetError):
        cause = chain[-1]
        said = f"{type(cause).__name__}: {cause}" if cause is not error else str(error)
        return f"{_path_in(chain) or 'a data set'} can not be read or written ({said})"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _path_in(chain: list[BaseException]) -> str | None:
    """The file that Kedro names in the description of a data set."""
    found = (re.search(r"filepath='?([^,')]+)", str(exc)) for exc in chain)
    return next((match[1] for match in found if match), None)
