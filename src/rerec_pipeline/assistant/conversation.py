"""More than one turn: wishes add up, "not X" takes away, "instead" and "older" change one thing.

The client keeps the conversation and sends all of it; the server keeps nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.grounding.links import Links
from rerec_pipeline.recbench.titles import split_year

#: Characters of one message of a user: what a person could have typed.
LONGEST = 4_000
#: Characters of all messages of a user together, and messages of a conversation.
LONGEST_CONVERSATION = 5 * LONGEST
MOST_MESSAGES = 100

#: Of a clause, words such as "not" that are looked at: its two sides are linked for each.
_MOST_NOTS = 8

# White space in front of "but" is read from its beginning only: a long run stays linear.
_CLAUSE = re.compile(r"(?<=[.!?;])\s+|\n+|(?:,|(?<!\s))\s+but\s+(?=(?:not|no|nothing|without)\b)")
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
    """Adds up what a user has said, and finds what was shown; linear in the number of messages.

    Args:
        turns: The messages, oldest first. An earlier answer names its recommendation in its last
            paragraph.
        assistant: Knows titles, names and kinds.

    Raises:
        BadInputError: If there are no messages, too many, or too long ones.
    """
    _check_length(turns)
    wishes, refusals = _Wishes(assistant), _Refusals(assistant)
    shown: dict[int, None] = {}
    for number, turn in enumerate(turns):
        if turn.role == "assistant" and turn.content.strip():
            said = turn.content.strip().splitlines()[-1][-LONGEST:]
            shown |= dict.fromkeys(assistant.retriever.linker.link(said).items)
        elif turn.role == "user":
            for clause in _clauses(turn.content):
                kept, away = _take_away(clause, assistant)
                if away is not None:
                    refusals.add(away)
                if _INSTEAD.search(kept):
                    wishes.change(kept)
                refusals.add_other_years(kept, next(reversed(shown), None))
                wishes.add(number, kept)
    left = wishes.by_turn()
    texts = [_said(turn, left[n]) for n, turn in enumerate(turns) if turn.role == "user"]
    return Wish("\n".join(filter(None, texts)), tuple(shown), tuple(refusals.items()))


def _check_length(turns: Sequence[Turn]) -> None:
    lengths = {n: len(turn.content) for n, turn in enumerate(turns, 1) if turn.role == "user"}
    long = next((n for n, length in lengths.items() if length > LONGEST), None)
    where = None if long is None else f"message {long}"
    remedy = "Leave out the oldest messages, or begin a new conversation"
    if not turns:
        problem, remedy = "there is no message", "Send at least one"
    elif long is not None:
        problem = f"a user's message has at most {LONGEST} characters, this one {lengths[long]}"
        remedy = "Shorten it"
    elif len(turns) > MOST_MESSAGES:
        problem = f"a conversation has at most {MOST_MESSAGES} messages, this one {len(turns)}"
    elif (total := sum(lengths.values())) > LONGEST_CONVERSATION:
        problem = (
            f"the user's messages have at most {LONGEST_CONVERSATION} characters together, "
            f"these {total}"
        )
    else:
        return
    raise BadInputError("request", problem, record=where, field="messages", remedy=remedy)


class _Wishes:
    """Clauses that a user wishes, in order. Each is linked once at most: for an "instead"."""

    def __init__(self, assistant: Assistant):
        self._assistant = assistant
        self._clauses: list[tuple[int, str] | None] = []
        self._linked = 0
        self._about: dict[str, list[int]] = defaultdict(list)

    def add(self, turn: int, clause: str) -> None:
        """Adds a wish of a message."""
        self._clauses.append((turn, clause))

    def change(self, clause: str) -> None:
        """Drops earlier wishes about what a clause changes: the same relation, or a kind."""
        for number in range(self._linked, len(self._clauses)):
            if (earlier := self._clauses[number]) is not None:
                for relation in self._spoken_of(earlier[1]):
                    self._about[relation].append(number)
        self._linked = len(self._clauses)
        for relation in self._spoken_of(clause):
            for number in self._about.pop(relation, ()):
                self._clauses[number] = None

    def by_turn(self) -> dict[int, list[str]]:
        """What is left of each message."""
        left: dict[int, list[str]] = defaultdict(list)
        for turn, clause in filter(None, self._clauses):
            left[turn].append(clause)
        return left

    def _spoken_of(self, clause: str) -> set[str]:
        """Relations (kinds among them) that a clause is about."""
        attributes = self._assistant.retriever.facts.attributes
        links = self._assistant.retriever.linker.link(clause)
        numbers = [*links.kinds, *(a for value in links.values for a in value.attributes)]
        told = set().union(*(value.relations for value in links.values))
        return told or {attributes[a][0] for a in numbers}


@dataclass(frozen=True)
class _RuledOut:
    """Items that a text names, and numbers of the attributes whose items it rules out."""

    items: tuple[int, ...]
    attributes: tuple[int, ...]


class _Refusals:
    """What is not to be recommended; the items of it are listed once, at the end."""

    def __init__(self, assistant: Assistant):
        self._assistant = assistant
        self._items: dict[int, None] = {}
        self._attributes: dict[int, None] = {}
        #: Whether older items are wanted -> the year that they have to be older (newer) than.
        self._years: dict[bool, int] = {}

    def add(self, away: _RuledOut) -> None:
        """Adds what a clause takes away."""
        self._items |= dict.fromkeys(away.items)
        self._attributes |= dict.fromkeys(away.attributes)

    def add_other_years(self, clause: str, last: int | None) -> None:
        """Rules out what is not older (or newer) than what a clause names, or was shown last."""
        match = _AGE.search(clause)
        if match is None:
            return
        named = self._assistant.retriever.linker.link(clause).items
        beside = named[0] if named else last
        titles = self._assistant.task.catalogue.titles
        year = None if beside is None else split_year(titles[beside])[1]
        if year is not None:
            older = match["older"] is not None
            strictest = min if older else max
            self._years[older] = strictest(year, self._years.get(older, year))

    def items(self) -> Iterable[int]:
        """Indices of all items that are ruled out, each once."""
        found = dict(self._items)
        for number in self._attributes:
            found |= dict.fromkeys(self._assistant.retriever.facts.with_attribute(number).tolist())
        return found | dict.fromkeys(self._of_other_years())

    def _of_other_years(self) -> Iterator[int]:
        for n, title in enumerate(self._assistant.task.catalogue.titles if self._years else ()):
            year = split_year(title)[1]
            if year is not None and any(
                year >= bound if older else year <= bound for older, bound in self._years.items()
            ):
                yield n


def _clauses(text: str) -> list[str]:
    return [clause for part in _CLAUSE.split(text) if (clause := part.strip())]


def _said(turn: Turn, kept: list[str]) -> str:
    """What is left of a message; as it was written where nothing was taken away."""
    return turn.content.strip() if kept == _clauses(turn.content) else " ".join(filter(None, kept))


def _take_away(clause: str, assistant: Assistant) -> tuple[str, _RuledOut | None]:
    """A clause without what it takes away, and what that is."""
    link = assistant.retriever.linker.link
    named: set[int] | None = None
    for match in islice(_NOT.finditer(clause), _MOST_NOTS):
        kept, rest = clause[: match.start()].strip(" ,;"), clause[match.end() :]
        told, wanted = link(rest), link(kept)
        named = set(link(clause).items) if named is None else named
        # A title may have such a word in it: cut in two, it would no longer be found.
        whole = named <= {*told.items, *wanted.items}
        if whole and (away := _ruled_out(told, assistant)) is not None:
            return kept, away
    return clause, None


def _ruled_out(links: Links, assistant: Assistant) -> _RuledOut | None:
    """Items that a text names, and the values and kinds in it; None if there are none."""
    attributes = assistant.retriever.facts.attributes
    numbers = list(links.kinds)
    for value in links.values:
        said = [a for a in value.attributes if attributes[a][0] in value.relations]
        numbers += said or value.attributes
    return _RuledOut(links.items, tuple(numbers)) if links.items or numbers else None
