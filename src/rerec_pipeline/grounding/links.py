"""What a request has to do with the catalogue: items, values and kinds, cues, claims."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rerec_pipeline.grounding.profiles import Profile

Status = Literal["confirmed", "contradicted", "unknown"]


@dataclass(frozen=True)
class NamedItem:
    """A title in the text: the items it may mean (one, unless it is ambiguous), and where."""

    items: tuple[int, ...]
    start: int
    end: int
    sentence: int


@dataclass(frozen=True)
class NamedValue:
    """A value in the text.

    Attributes:
        attributes: Numbers of the attributes (``Facts``) that have this value, in any relation.
        relations: Relations whose cue is nearest in the same sentence; empty if there is none.
        start, end: Word positions, end exclusive.
        sentence: Number of the sentence.
        denied: Whether it is what the request does not want: "not directed by X".
    """

    attributes: tuple[int, ...]
    relations: frozenset[str]
    start: int
    end: int
    sentence: int
    denied: bool = False


@dataclass(frozen=True)
class Claim:
    """What a request says about an item that it names.

    Attributes:
        item: Index of the item.
        relation: The relation that is spoken of.
        value: The value that is stated, as the graph writes it.
        status: Whether the graph has it, has others in its place, or has none in this relation.
        instead: Values that the graph has in this relation where it contradicts.
    """

    item: int
    relation: str
    value: str
    status: Status
    instead: tuple[str, ...] = ()


@dataclass(frozen=True)
class Links:
    """What a request is about.

    Attributes:
        text: The request.
        named: Titles in it.
        values: Names in it (people, studios).
        kinds: Numbers of the attributes of kinds it speaks of (genres).
        cues: Relations it speaks of.
        free_cues: Of these, relations that a cue speaks of which is not beside a named value:
            "the cinematography of these films", which asks for what named items share.
        claims: Statements about named items, checked.
        strange_claims: The same with names that the graph has nowhere; only shown (``stated``),
            neither retrieval nor evidence has them.
        years: (first, last) of every year and decade in it, also of one that stands behind a title:
            who names a film of 1995 is often pleased by others of its time.
        profile: What it says of the user.
    """

    text: str
    named: tuple[NamedItem, ...] = ()
    values: tuple[NamedValue, ...] = ()
    kinds: tuple[int, ...] = ()
    cues: frozenset[str] = frozenset()
    free_cues: frozenset[str] = frozenset()
    claims: tuple[Claim, ...] = ()
    strange_claims: tuple[Claim, ...] = ()
    years: tuple[tuple[int, int], ...] = ()
    profile: Profile = field(default_factory=Profile)

    @property
    def items(self) -> tuple[int, ...]:
        """Indices of all items that it names, each once."""
        return tuple(dict.fromkeys(item for mention in self.named for item in mention.items))

    @property
    def stated(self) -> tuple[Claim, ...]:
        """All statements about named items, to be shown."""
        return (*self.claims, *self.strange_claims)
