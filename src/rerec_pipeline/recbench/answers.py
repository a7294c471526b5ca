r"""Reading an answer out of a completion: the last ``\boxed{...}`` and the titles in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

#: What stands between the titles of an answer.
SEPARATOR = ";"

_BOX = "\\boxed{"
_BOXES = re.compile(re.escape(_BOX))
_BRACE = re.compile(r"[{}]")
_MARKUP = re.compile(r"\\(?:boxed|text(?:bf|it|rm)?)\{|[{};]")
_TEXT_MACRO = re.compile(r"^\\text(?:bf|it|rm)?\{(?P<inner>.*)\}$", re.DOTALL)


class Answer(NamedTuple):
    r"""What a completion answers.

    Attributes:
        content: Text inside the last complete ``\boxed{...}`` that says something; None without
            one.
        span: Where this box begins and ends in the completion, in characters; None without one.
        completion: The completion.
    """

    content: str | None
    span: tuple[int, int] | None = None
    completion: str = ""

    @property
    def boxed(self) -> bool:
        """Whether the completion is well-formed: it commits to an answer."""
        return self.content is not None

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles as written, ranked best first (see ``SEPARATOR``); none is blank."""
        return tuple(filter(says_something, self.parts))

    @property
    def parts(self) -> list[str]:
        """What stands between separators, not empty; some of it may say nothing."""
        return [*filter(None, map(str.strip, (self.content or "").split(SEPARATOR)))]

    @property
    def paragraphs(self) -> range:
        """Which of the completion's lines with text the box stands in."""
        return range(0) if self.span is None else _lines(self.completion, *self.span)


def read_answer(completion: str) -> Answer:
    r"""Finds the answer of a completion.

    The last complete box counts, so that a model may reconsider; braces inside it are balanced
    and ``\text{...}`` around the content is dropped. A box without a visible character other than
    separators and markup is no answer: it has no reward.

    Args:
        completion: Text that the policy wrote.

    Returns:
        The answer; ``boxed`` is False when there is none.
    """
    if plain := _plain_answer(completion):
        return plain
    span = _last_box(completion)
    if span is None:
        return Answer(None, None, completion)
    content = completion[span[0] + len(_BOX) : span[1] - 1].strip()
    return Answer(_strip_macro(content), span, completion)


def can_be_boxed(title: str) -> bool:
    r"""Whether ``\boxed{title}`` is read as this title; ``A}`` and ``\text{A}`` are not."""
    return read_answer(f"{_BOX}{title}}}").content == title


def _plain_answer(text: str) -> Answer | None:
    """The answer in the last box, if no brace is in it: as in nearly every completion."""
    start = text.rfind(_BOX)
    inside = start + len(_BOX)
    close = text.find("}", inside)
    if start < 0 or close < 0 or text.find("{", inside, close) >= 0:
        return None
    content = text[inside:close].strip()
    return Answer(content, (start, close + 1), text) if says_something(content) else None


def _last_box(text: str) -> tuple[int, int] | None:
    """The last complete box that says something."""
    blank = (0, 0)
    for start, end in _boxes(text):
        inside = (start + len(_BOX), end - 1)
        # Of a box around one that says nothing, only what is outside that one is looked at.
        around = start < blank[0] and blank[1] < end
        parts = [(inside[0], blank[0]), (blank[1], inside[1])] if around else [inside]
        if any(says_something(text[first:last]) for first, last in parts):
            return start, end
        blank = (start, end)
    return None


def _boxes(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every complete box, the last one first.

    One pass over the braces: a box that is never closed costs no more than one that is.
    """
    closes: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif opened:
            closes[opened.pop()] = match.end()
    for match in reversed([*_BOXES.finditer(text)]):
        if (end := closes.get(match.end() - 1)) is not None:
            yield match.start(), end


def says_something(text: str) -> bool:
    """Whether there is more than markup, separators, spaces, controls and direction marks."""
    if text[:1].isalnum():  # as nearly every text begins, and no markup does
        return True
    said = _MARKUP.sub("", text)
    return any(unicodedata.category(character)[0] not in "ZC" for character in said)


def _lines(text: str, start: int, end: int) -> range:
    """Numbers of the lines with text that a span is in; its first and last character are text."""
    first = sum(map(bool, text[:start].split("\n")[:-1]))
    return range(first, first + sum(map(bool, text[start:end].split("\n"))))


def _strip_macro(content: str) -> str:
    match = _TEXT_MACRO.match(content) if content.startswith("\\") else None
    return match.group("inner").strip() if match else content
