"""Errors of commands, as a user reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from click import ClickException

from rerec_pipeline.errors import ReRecError


@contextmanager
def errors_shown() -> Iterator[None]:
    """Shows the errors that a user is meant to read as such, without a traceback."""
    try:
        yield
    except ReRecError as exc:
        raise ClickException(str(exc)) from None
