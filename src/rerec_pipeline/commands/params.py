"""The option ``--params``, which may be given several times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


class ParamsOption(click.Option):
    """``--params parameter=value,...``; given several times, the parts are joined.

    By itself click would take the last and drop the others without a word.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("metavar", "NAME=VALUE,...")
        super().__init__(*args, **{**kwargs, "multiple": True, "default": None})

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """The joined text; nested parameters as they are (``kedro run --config``)."""
        if isinstance(value, str | Mapping):
            return value
        return ",".join(value or ())
