"""From the text of a request to what the catalogue knows: items, values, relations, claims.

Nothing here sees a right answer: a link is made from the request, the titles and the attribute
graph alone.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Literal

from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.profiles import Profile, read_profile
from rerec_pipeline.recbench.mentions import PhraseIndex, cased_words, words
from rerec_pipeline.recbench.relations import (
    FALSE_CUES,
    KIND_CUES,
    RELATION_CUES,
    RELATION_STEMS,
    plain_name,
    stems_of,
)
from rerec_pipeline.recbench.titles import ItemIndex, natural_order, split_year

Status = Literal["confirmed", "contradicted", "unknown"]

#: Words in which a name may be written that say nothing by themselves.
SMALL_WORDS = frozenset((
    "a", "an", "the", "and", "or", "of", "in", "on", "at", "to", "for", "from", "with", "by",
    "as", "is", "it", "i", "my", "me", "you", "we", "he", "she", "his", "her", "its", "this",
    "that", "be", "are", "was", "were", "not", "no", "do", "so", "if", "but", "up", "out",
    "all", "any", "s", "t",
))  # fmt: skip
_SENTENCE_ENDS = frozenset(".?!;")
_QUOTES = frozenset("'\"*")
_INITIALS = frozenset(["dr", "mr", "mrs", "ms", "st", "jr", "sr", "vs"])
#: Small words within a name; "and" and commas stand between names, too.
_WITHIN = frozenset(("of", "the", "a", "an", "to", "at"))
_ARTICLES = frozenset(("the", "a", "an"))
_LONGEST_BRACKET = 14
#: Brackets behind a title in which its year is looked for: other names come before it.
_MOST_BRACKETS = 4
_OTHER_NAME = re.compile(r"^(?P<first>.+?) \((?P<second>[^()]*\D[^()]*)\)$")
_DECADE = re.compile(r"(?:(1[89]|20))?(\d)0s")
_ASKING = frozenset((
    "recommend", "recommendations", "suggest", "suggestions", "looking", "find", "explore",
    "interested", "love", "if", "other", "more", "also", "another", "similar", "eager",
    "curious", "additionally", "would", "could",
))  # fmt: skip
#: Words that begin a sentence with a capital and are no part of a name.
_OPENERS = frozenset((
    "after", "although", "because", "before", "did", "does", "given", "has", "have", "how",
    "knowing", "maybe", "please", "recently", "since", "someone", "they", "those", "what", "when",
    "where", "which", "while", "who", "whose", "why",
))  # fmt: skip
#: Words between a name and the cue that speaks of it: "Ana Torv's direction", "was the director".
_BETWEEN = frozenset(("'", "s", "also", "has", "had", "is", "was", "the"))
#: An item with more values in a relation may have one that the graph lacks: actors, not directors.
_WHOLE = 2
#: On either side of a name, so many titles may be spoken of: a long text takes no longer a word.
_MOST_TITLES = 8
_PLACE = itemgetter(0)


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
    """

    attributes: tuple[int, ...]
    relations: frozenset[str]
    start: int
    end: int
    sentence: int


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
        years: (first, last) of every year and decade in it that is not a named item's.
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


class Linker:
    """Links texts to a catalogue and its attribute graph.

    Args:
        catalogue: All items.
        facts: The attribute graph over the same items.
        relation_cues: relation -> beginnings of words that speak of it; one that ends with a space
            is a whole word. By default those of ``recbench/relations.py``.
        kind_cues: value of a kind -> beginnings of words that speak of it.
    """

    def __init__(
        self,
        catalogue: ItemIndex,
        facts: Facts,
        relation_cues: Mapping[str, Sequence[str]] | None = None,
        kind_cues: Mapping[str, Sequence[str]] | None = None,
    ):
        self.catalogue = catalogue
        self.facts = facts
        if relation_cues is None:
            named = dict.fromkeys((*RELATION_STEMS, *facts.relations))
            relation_cues = {r: (*stems_of(r), *RELATION_CUES.get(r, ())) for r in named}
        self._relations = _Stems(relation_cues)
        kinds = [(n, v) for n, (_, v) in enumerate(facts.attributes) if facts.is_kind[n]]
        cues = KIND_CUES if kind_cues is None else kind_cues
        self._kinds = _Stems({n: cues.get(value, (_whole(value),)) for n, value in kinds})
        self._years = [split_year(title)[1] for title in catalogue.titles]
        self._index = PhraseIndex(self._phrases())
        makers = (v for n, (_, v) in enumerate(facts.attributes) if not facts.is_kind[n])
        self._name_parts = {part for v in makers if len(said := words(v)) > 1 for part in said}

    def _phrases(self) -> Iterator[tuple[str, int, bool]]:
        """Titles under their items' indices, values under -1 - their attributes' numbers."""
        for item, title in enumerate(self.catalogue.titles):
            for name in spoken_titles(title):
                yield name, item, False
        for number, (_, value) in enumerate(self.facts.attributes):
            if not self.facts.is_kind[number]:
                yield plain_name(value), -1 - number, False

    def link(self, text: str) -> Links:
        """Finds everything in a text that the catalogue and the graph know.

        Args:
            text: A request of any length; an empty one, or one in a script in which nothing is
                known, has no links.
        """
        # Not by the cache of ``words``: it would keep what users write.
        said, cased = words.__wrapped__(text), cased_words(text)
        reading = _Reading(said, cased if len(cased) == len(said) else said)
        spans = list(self._index.scan(said, lambda *at: self._accept(reading, *at)))
        covered = {at for span in spans for at in range(span.start, span.end)}
        ends = reading.sentence_ends(covered)
        free = [at for at in range(len(said)) if at not in covered]
        cues = [(at, relation) for relation, at in self._relations.find(said, free)]
        named, values = [], []
        for span in spans:
            sentence = bisect_right(ends, span.start)
            items = tuple(sorted(key for key in span.keys if key >= 0))
            if items:
                named.append(NamedItem(items, span.start, span.end, sentence))
            numbers = tuple(sorted(-1 - key for key in span.keys if key < 0))
            if numbers:
                near = _nearest(span.start, span.end, cues, ends)
                values.append(NamedValue(numbers, frozenset(near), span.start, span.end, sentence))
        bound = {at for value in values for at in _bound(value, cues, ends)}
        free_cues = [(at, relation) for at, relation in cues if at not in bound]
        return Links(
            text,
            tuple(named),
            tuple(values),
            tuple(dict.fromkeys(number for number, _ in self._kinds.find(said, free))),
            frozenset(relation for _, relation in cues),
            frozenset(relation for _, relation in free_cues),
            tuple(dict.fromkeys(self._claims(reading, named, values, cues, ends))),
            tuple(dict.fromkeys(self._strange_claims(reading, named, free, free_cues, ends))),
            tuple(_years(said, covered)),
            read_profile(said, free),
        )

    # -- mentions ------------------------------------------------------------------------

    def _accept(
        self, reading: _Reading, keys: tuple, start: int, end: int, _open_ended: bool
    ) -> tuple:
        items = tuple(key for key in keys if key >= 0)
        values = tuple(key for key in keys if key < 0)
        year = reading.year_after(end)
        if items and year is not None:
            meant = tuple(i for i in items if (y := self._years[i]) is None or abs(y - year) <= 1)
            exact = tuple(i for i in meant if self._years[i] == year)
            return exact or meant
        if values and reading.is_name(start, end):
            return values
        quoted = reading.is_quoted(start, end)
        written = reading.is_title(start, end) and self._is_no_part(reading, start, end)
        if items and (quoted or written):
            return () if reading.sequel_follows(end) else items
        return ()

    def _is_no_part(self, reading: _Reading, start: int, end: int) -> bool:
        """Whether a title of one telling word is not rather a part of a longer title or a name."""
        telling = [n for n in range(start, end) if reading.said[n] not in SMALL_WORDS]
        if len(telling) > 1:
            return True
        if end - start == 1 and reading.said[start] in self._name_parts:
            return False
        return not reading.goes_on_before(start) and not reading.goes_on_after(end)

    # -- claims --------------------------------------------------------------------------

    def _claims(
        self,
        reading: _Reading,
        named: Sequence[NamedItem],
        values: Sequence[NamedValue],
        cues: Sequence[tuple[int, str]],
        ends: Sequence[int],
    ) -> Iterator[Claim]:
        """Checks each name that stands with a title in one clause: "X ... directed by Y"."""
        checked = set()
        for item in named:
            for value in values:
                pair = (item.items, value.attributes, value.relations)
                if value.sentence != item.sentence or pair in checked:  # the same said again
                    continue
                if reading.asks_between(item, value):
                    continue
                checked.add(pair)
                yield from self._check(item, value)

    def _check(self, named: NamedItem, said: NamedValue) -> Iterator[Claim]:
        attributes = self.facts.attributes
        value = plain_name(attributes[said.attributes[0]][1])
        for item in named.items:
            has = {attributes[a][0]: a for a in said.attributes if a in self._held(item)}
            for relation in sorted(said.relations):
                there = self.facts.in_relation(item, relation)
                if relation in has:
                    yield Claim(item, relation, value, "confirmed")
                elif there:
                    instead = tuple(attributes[a][1] for a in there)
                    yield Claim(item, relation, value, "contradicted", instead)
                else:
                    yield Claim(item, relation, value, "unknown")

    def _strange_claims(
        self,
        reading: _Reading,
        named: Sequence[NamedItem],
        free: Sequence[int],
        cues: Sequence[tuple[int, str]],
        ends: Sequence[int],
    ) -> Iterator[Claim]:
        """Checks names that the graph does not have: "Kishimoto directed Girl 6"."""
        if not (named and cues and reading.has_case):
            return
        at_cues = {at for at, _ in cues}
        for start, end in reading.unknown_names([at for at in free if at not in at_cues]):
            around = _within(cues, start - 2, end + 4)
            places = [(at, r) for at, r in around if reading.speaks_of(start, end, at)]
            relations = {r for _, r in places} & _nearest(start, end, cues, ends)
            name = " ".join(reading.cased[start:end]).replace(" .", ".")
            said = NamedValue((), frozenset(relations), start, end, bisect_right(ends, start))
            behind = any(at < start for at, _ in places)
            for item in reading.spoken_of(said, named, behind):
                for relation in sorted(relations):
                    yield from self._doubt(item, relation, name)

    def _doubt(self, item: int, relation: str, name: str) -> Iterator[Claim]:
        """Checks a name that the graph has nowhere; nothing is said if it may be a part of one."""
        instead = tuple(self.facts.attributes[a][1] for a in self.facts.in_relation(item, relation))
        if {*words(name)} & {word for value in instead for word in words(value)}:
            return
        if 0 < len(instead) <= _WHOLE:
            yield Claim(item, relation, name, "contradicted", instead)
        else:
            yield Claim(item, relation, name, "unknown")

    def _held(self, item: int) -> frozenset[int]:
        return frozenset(self.facts.of_item(item).tolist())


def spoken_titles(title: str) -> list[str]:
    """The ways a request may say a title, without its year.

    "Boat, The (Das Boot) (1981)" -> "The Boat (Das Boot)", "The Boat", "Das Boot".
    """
    names: list[str] = []
    for spelling in dict.fromkeys((natural_order(title), title)):
        name = split_year(spelling)[0]
        names.append(name)
        while (match := _OTHER_NAME.match(name)) is not None:
            names += [natural_order(match["second"])]
            name = match["first"]
        names.append(natural_order(name))
    return list(dict.fromkeys(name for name in names if words(name)))


class _Stems:
    """Beginnings of words, looked up in running text."""

    def __init__(self, stems: Mapping):
        self._single: dict[str, list] = {}
        self._whole: dict[str, list] = {}
        self._longer: dict[str, list[tuple[tuple[str, ...], object]]] = {}
        for key, given in stems.items():
            for stem in given:
                parts = words(stem)
                if len(parts) > 1:
                    self._longer.setdefault(parts[0], []).append((parts, key))
                elif parts:
                    table = self._whole if stem.endswith(" ") else self._single
                    table.setdefault(parts[0], []).append(key)
        self._lengths = sorted({len(stem) for stem in self._single})

    def find(self, said: Sequence[str], places: Sequence[int]) -> Iterator[tuple]:
        """(key, word position) of every stem at the given positions."""
        for at in places:
            word = said[at]
            if word in FALSE_CUES:
                continue
            found = list(self._whole.get(word, ()))
            for length in self._lengths:
                if length > len(word):
                    break
                found += self._single.get(word[:length], ())
            for parts, key in self._longer.get(word, ()):
                rest = said[at : at + len(parts)]
                if tuple(rest[:-1]) == parts[:-1] and rest[-1].startswith(parts[-1]):
                    found.append(key)
            for key in dict.fromkeys(found):
                yield key, at


def _whole(value: str) -> str:
    return f"{value} "


class _Reading:
    """The words of a text, folded and as they are written."""

    def __init__(self, said: tuple[str, ...], cased: Sequence[str]):
        self.said = said
        self.cased = cased
        self._asking = [n for n, word in enumerate(said) if word in _ASKING]
        # A text in one case, or with capitals only where sentences begin, tells nothing by them.
        letters = [n for n, w in enumerate(cased) if w.isalpha() and len(w) > 1]
        names = any(cased[n][0].isupper() and not self.begins(n) for n in letters)
        self.has_case = names and any(cased[n].islower() for n in letters)

    def is_capital(self, at: int) -> bool:
        """Whether there is a word at a position that is written with a capital."""
        return 0 <= at < len(self.cased) and self.cased[at][0].isupper()

    def is_name(self, start: int, end: int) -> bool:
        """Whether words are written like a name."""
        words_said = range(start, end)
        content = [n for n in words_said if self.said[n] not in SMALL_WORDS and self._is_word(n)]
        if not self.has_case:
            return len(content) > 1
        return bool(content) and all(
            self.is_capital(n) or self.said[n][0].isdigit() for n in content
        )

    def is_title(self, start: int, end: int) -> bool:
        """Whether words are written like a title: a single one not at the start of a sentence."""
        if end - start == 1:
            return self.has_case and self.is_capital(start) and not self.begins(start)
        return self.is_name(start, end)

    def goes_on_before(self, start: int) -> bool:
        """Whether a name is already under way: "the Edge of ..." in "The Light at the Edge"."""
        at = start - 1
        if at >= 0 and self.said[at] in _ARTICLES and not self.is_capital(at):
            return True
        while at > 0 and self.said[at] in _WITHIN and not self.is_capital(at):
            at -= 1
        return self.is_capital(at) and not self.begins(at) and len(self.said[at]) > 1

    def goes_on_after(self, end: int) -> bool:
        """Whether a name goes on: "Ember" in "Ember of the Night"."""
        at = end
        while at < len(self.said) and self.said[at] in _WITHIN and not self.is_capital(at):
            at += 1
        return self.is_capital(at) and len(self.said[at]) > 1

    def begins(self, at: int) -> bool:
        """Whether a sentence begins at a position."""
        return at == 0 or self.said[at - 1] in _SENTENCE_ENDS

    def _is_word(self, at: int) -> bool:
        return self.said[at][0].isalnum()

    def is_quoted(self, start: int, end: int) -> bool:
        """Whether words stand between quote marks."""
        if start == 0 or end == len(self.said):
            return False
        return self.said[start - 1] == self.said[end] and self.said[end] in _QUOTES

    def year_after(self, end: int) -> int | None:
        """The year in brackets after a position, also behind another name in brackets."""
        for _ in range(_MOST_BRACKETS):
            after = self.said[end : end + 3]
            if after[:1] != ("(",):
                return None
            if len(after) == 3 and after[2] == ")" and re.fullmatch(r"\d{4}", after[1]):
                return int(after[1])
            within = self.said[end + 1 : end + _LONGEST_BRACKET]
            if ")" not in within or "(" in within[: within.index(")")]:
                return None
            end += within.index(")") + 2
        return None

    def sequel_follows(self, end: int) -> bool:
        """Whether a year, a number or a Roman numeral follows: another item is meant."""
        following = self.said[end : end + 1]
        numeral = bool(following) and re.fullmatch(r"\d+|i{2,3}|iv|vi{0,3}|ix", following[0])
        return self.year_after(end) is not None or bool(numeral)

    def sentence_ends(self, covered: set[int]) -> list[int]:
        """Positions of the marks that end a sentence, those within a mention left out."""
        return [
            n
            for n, word in enumerate(self.said)
            if word in _SENTENCE_ENDS
            and n not in covered
            and not (n and (self.said[n - 1] in _INITIALS or len(self.said[n - 1]) == 1))
        ]

    def unknown_names(self, free: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Spans of words at free positions that are written like names, and like no title."""
        parts = [at for at in free if self._may_be_of_a_name(at)]
        for _, run in groupby(enumerate(parts), key=lambda pair: pair[1] - pair[0]):
            places = [at for _, at in run]
            start, end = places[0], places[-1] + 1
            if not self.is_quoted(start, end) and self.said[end : end + 1] != ("(",):
                yield start, end

    def _may_be_of_a_name(self, at: int) -> bool:
        word = self.said[at]
        if word == "." and len(self.said[at - 1]) == 1 and self.is_capital(at - 1):
            return True  # of an initial
        if word in SMALL_WORDS or word in _ASKING or not self.cased[at].isalpha():
            return False
        return self.is_capital(at) and not (self.begins(at) and word in _OPENERS)

    def speaks_of(self, start: int, end: int, at: int) -> bool:
        """Whether a cue speaks of a name: "Ana Torv directed", "directed by", "starring Ana Torv".

        In "Rock Star" and "Eon productions" it is a part of the name.
        """
        if self.is_capital(at) or (at == end and self.said[at].endswith("s")):
            return False
        if at < start:
            return self.said[at + 1 : start] in ((), ("by",))
        passive = self.said[at + 1 : at + 2] == ("by",)
        return not passive and all(word in _BETWEEN for word in self.said[end:at])

    def spoken_of(self, said: NamedValue, named: Sequence[NamedItem], behind: bool) -> list[int]:
        """Items that a statement about a name is about: of its sentence, or the last one's "it".

        Where the name is behind its cue ("directed by X"), another clause may follow, which is not
        about X.
        """
        after = bisect_left(named, said.start, key=lambda item: item.start)
        before = named[max(0, after - _MOST_TITLES) : after]
        here = [
            item
            for item in (*before, *(() if behind else named[after : after + _MOST_TITLES]))
            if item.sentence == said.sentence and not self.asks_between(item, said)
        ]
        if not here and "it" in self.said[said.end : said.end + 3]:
            here = [*before[-1:]]
        return [item.items[0] for item in here if len(item.items) == 1]

    def asks_between(self, item: NamedItem, value: NamedValue) -> bool:
        """Whether a wish separates a title from a name, so that they are no statement."""
        first, second = sorted(((item.start, item.end), (value.start, value.end)))
        return bisect_left(self._asking, first[1]) < bisect_left(self._asking, second[0])


def _distance(start: int, end: int, at: int) -> int:
    return start - at if at < start else at - end + 1


def _nearest(
    start: int, end: int, cues: Sequence[tuple[int, str]], ends: Sequence[int]
) -> set[str]:
    sentence, after = bisect_right(ends, start), bisect_left(cues, start, key=_PLACE)
    beside = {cues[n][0] for n in (after - 1, after) if 0 <= n < len(cues)}
    near = [(_distance(start, end, at), at) for at in beside if bisect_right(ends, at) == sentence]
    least = min((distance for distance, _ in near), default=0)
    nearest = [at for distance, at in near if distance == least]
    return {relation for at in nearest for _, relation in _within(cues, at, at)}


def _within(cues: Sequence[tuple[int, str]], first: int, last: int) -> Sequence[tuple[int, str]]:
    """The cues from one position to another, both included."""
    return cues[bisect_left(cues, first, key=_PLACE) : bisect_right(cues, last, key=_PLACE)]


def _bound(value: NamedValue, cues: Sequence[tuple[int, str]], ends: Sequence[int]) -> list[int]:
    """Positions of the cues that speak of a named value: the nearest, at most five words away."""
    around = _within(cues, value.start - 5, value.end + 5)
    places = [
        (_distance(value.start, value.end, at), at) for at, r in around if r in value.relations
    ]
    same = [(d, at) for d, at in places if bisect_right(ends, at) == value.sentence and d <= 5]
    least = min((d for d, _ in same), default=0)
    return [at for d, at in same if d == least]


def _years(said: Sequence[str], covered: set[int]) -> Iterator[tuple[int, int]]:
    for at, word in enumerate(said):
        if at in covered or not word[0].isdigit():
            continue
        if (decade := _DECADE.fullmatch(word)) is not None:
            century = int(decade[1] or (19 if int(decade[2]) > 2 else 20))
            first = century * 100 + int(decade[2]) * 10
            yield first, first + 9
        elif re.fullmatch(r"(18|19|20)\d\d", word):
            yield int(word), int(word)
