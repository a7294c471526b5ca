r"""Reading an answer out of a completion: the last ``\boxed{...}`` and the titles in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What stands between the titles of an answer.
SEPARATOR = ";"

_BOX = "\\boxed{"
_TEXT_MACRO = re.compile(r"^\\text(?:bf|it|rm)?\{(?P<inner>.*)\}$", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    r"""What a completion answers.

    Attributes:
        content: Text inside the last complete, non-empty ``\boxed{...}``; None without one.
    """

    content: str | None

    @property
    def boxed(self) -> bool:
        """Whether the completion is well-formed: it commits to an answer."""
        return self.content is not None

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles as written, ranked best first (see ``SEPARATOR``)."""
        if self.content is None:
            return ()
        parts = [part.strip() for part in self.content.split(SEPARATOR)]
        return tuple([part for part in parts if part])


def read_answer(completion: str) -> Answer:
    r"""Finds the answer of a completion.

    The last complete box counts, so that a model may reconsider; braces inside it are balanced,
    ``\text{...}`` around the content is dropped, and an empty box is no answer.

    Args:
        completion: Text that the policy wrote.

    Returns:
        The answer; ``boxed`` is False when there is none.
    """
    start = completion.rfind(_BOX)
    while start != -1:
        content = _balanced(completion, start + len(_BOX))
        if content is not None and content.strip():
            return Answer(_strip_macro(content.strip()))
        start = completion.rfind(_BOX, 0, start)
    return Answer(None)


def can_be_boxed(title: str) -> bool:
    r"""Whether ``\boxed{title}`` is read as this title; ``A}`` and ``\text{A}`` are not."""
    return read_answer(f"{_BOX}{title}}}").content == title


def _balanced(text: str, start: int) -> str | None:
    depth, at = 1, start
    while depth:
        close = text.find("}", at)
        if close == -1:
            return None
        depth += text.count("{", at, close) - 1
        at = close + 1
    return text[start : at - 1]


def _strip_macro(content: str) -> str:
    match = _TEXT_MACRO.match(content) if content[0] == "\\" else None
    return match.group("inner").strip() if match else content
