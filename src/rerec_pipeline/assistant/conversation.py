"""More than one turn: wishes add up, "not X" takes away, "instead" and "older" change one thing.

The client keeps the conversation and sends all of it; the server keeps nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.grounding.linking import Links
from rerec_pipeline.recbench.titles import split_year

_CLAUSE = re.compile(r"(?<=[.!?;])\s+|\n+|,?\s+but\s+(?=(?:not|no|nothing|without)\b)")
_NOT = re.compile(
    r"\b(?:(?:not|no|nothing|none|never)(?! only\b)|without|except|other than|anything but"
    r"|don['’]t (?:want|like)|avoid)\b",
    re.IGNORECASE,
)
_INSTEAD = re.compile(r"\binstead\b", re.IGNORECASE)
_AGE = re.compile(r"\b(?:(?P<older>older|earlier)|newer|more recent|later)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Turn:
    """One message: ``role`` is system, developer, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Wish:
    """What a conversation comes to.

    Attributes:
        request: What the user wishes, in order, without what was taken back.
        shown: Indices of items that the assistant has recommended before.
        refused: Indices of items that the user's words rule out.
    """

    request: str
    shown: tuple[int, ...]
    refused: tuple[int, ...] = ()

    @property
    def exclude(self) -> tuple[int, ...]:
        """All that is not to be recommended."""
        return tuple(dict.fromkeys((*self.shown, *self.refused)))


def read_conversation(turns: Sequence[Turn], assistant: Assistant) -> Wish:
    """Adds up what a user has said, and finds what was shown.

    Args:
        turns: The messages, oldest first. An earlier answer names its recommendation in its last
            paragraph.
        assistant: Knows titles, names and kinds.
    """
    link = assistant.retriever.linker.link
    wished: list[tuple[int, str]] = []
    shown: dict[int, None] = {}
    refused: dict[int, None] = {}
    for number, turn in enumerate(turns):
        if turn.role == "assistant" and turn.content.strip():
            shown |= dict.fromkeys(link(turn.content.strip().splitlines()[-1]).items)
        elif turn.role == "user":
            for clause in _clauses(turn.content):
                kept, away = _take_away(clause, assistant)
                refused |= dict.fromkeys(away)
                if _INSTEAD.search(kept):
                    changed = link(kept)
                    wished = [w for w in wished if not _replaces(changed, link(w[1]), assistant)]
                refused |= dict.fromkeys(_of_other_years(kept, [*shown], assistant))
                wished.append((number, kept))
    said = [
        _said(turn, [clause for n, clause in wished if n == number])
        for number, turn in enumerate(turns)
        if turn.role == "user"
    ]
    return Wish("\n".join(filter(None, said)), tuple(shown), tuple(refused))


def _clauses(text: str) -> list[str]:
    return [clause for part in _CLAUSE.split(text) if (clause := part.strip())]


def _said(turn: Turn, kept: list[str]) -> str:
    """What is left of a message; as it was written where nothing was taken away."""
    return turn.content.strip() if kept == _clauses(turn.content) else " ".join(filter(None, kept))


def _take_away(clause: str, assistant: Assistant) -> tuple[str, Sequence[int]]:
    """A clause without what it takes away, and the items that it takes away."""
    link = assistant.retriever.linker.link
    for match in _NOT.finditer(clause):
        kept, rest = clause[: match.start()].strip(" ,;"), clause[match.end() :]
        told, wanted = link(rest), link(kept)
        # A title may have such a word in it: cut in two, it would no longer be found.
        whole = set(link(clause).items) <= {*told.items, *wanted.items}
        if whole and (found := [*_ruled_out(told, assistant)]):
            return kept, found
    return clause, ()


def _ruled_out(links: Links, assistant: Assistant) -> Iterator[int]:
    """Items that have one of the values or kinds of a text, or are named in it."""
    facts = assistant.retriever.facts
    yield from links.items
    numbers = list(links.kinds)
    for value in links.values:
        said = [a for a in value.attributes if facts.attributes[a][0] in value.relations]
        numbers += said or value.attributes
    for number in numbers:
        yield from facts.with_attribute(number).tolist()


def _replaces(new: Links, old: Links, assistant: Assistant) -> bool:
    """Whether an earlier wish is about what a later one changes: the same relation, or a kind."""
    attributes = assistant.retriever.facts.attributes

    def spoken_of(links: Links) -> set[str]:
        numbers = [*links.kinds, *(a for value in links.values for a in value.attributes)]
        told = set().union(*(value.relations for value in links.values))
        return told or {attributes[a][0] for a in numbers}

    return bool(spoken_of(new) & spoken_of(old))


def _of_other_years(clause: str, shown: Sequence[int], assistant: Assistant) -> list[int]:
    """Items that are not older (or newer) than what a clause names, or what was shown last."""
    match = _AGE.search(clause)
    titles = assistant.task.catalogue.titles
    beside = [*assistant.retriever.linker.link(clause).items] or shown[-1:]
    year = split_year(titles[beside[0]])[1] if beside else None
    if match is None or year is None:
        return []
    years = ((n, split_year(title)[1]) for n, title in enumerate(titles))
    older = match["older"] is not None
    return [n for n, y in years if y is not None and (y >= year if older else y <= year)]
