"""docs/parameters.md is what the code and conf say."""

import importlib.util
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from rerec_pipeline.configs import Config

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def page():
    """The script beside the page; docs is no package."""
    spec = importlib.util.spec_from_file_location("page", PROJECT / "docs" / "parameters.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(page):
    assert (PROJECT / "docs" / "parameters.md").read_text(encoding="utf-8") == page.write_page(), (
        "run python docs/parameters.py"
    )


class Inner(Config):
    """An inner block.

    Attributes:
        kind: Which one.
        sizes: Of all, in
            two lines.
    """

    kind: Literal["a", "b"]
    sizes: list[int]


class Outer(Config):
    """A block.

    Attributes:
        share, rest: Of the whole.
        inner: More.
    """

    share: float = Field(ge=0, lt=1)
    rest: float | None
    inner: Inner | None


def test_a_row_for_each_parameter_by_hand(page):
    given = {"share": 0.5, "rest": None, "inner": {"kind": "a", "sizes": [1, 2]}}
    assert list(page.rows(Outer, "x.", given)) == [
        "| `x.share` | number, >= 0, < 1 | `0.5` | Of the whole. |",
        "| `x.rest` | number or null | `null` | Of the whole. |",
        "| `x.inner` | block or null |  | More. |",
        '| `x.inner.kind` | `a`, `b` | `"a"` | Which one. |',
        "| `x.inner.sizes` | list of: whole number | `[1, 2]` | Of all, in two lines. |",
    ]
    assert (
        next(page.rows(Outer, "x.", {})) == "| `x.share` | number, >= 0, < 1 |  | Of the whole. |"
    )


def test_a_parameter_without_a_meaning_is_an_error(page):
    class Bare(Config):
        """Says nothing of it."""

        size: int

    with pytest.raises(KeyError, match="size"):
        list(page.rows(Bare, "", {}))
