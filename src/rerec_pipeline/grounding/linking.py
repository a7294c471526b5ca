"""From the text of a request to what the catalogue knows: items, values, relations, claims.

Nothing here sees a right answer: a link is made from the request, the titles and the attribute
graph alone.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

from rerec_pipeline.grounding.cues import Stems, cues_of, cues_within, nearest_relations
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.links import Claim, Links, NamedItem, NamedValue
from rerec_pipeline.grounding.profiles import read_profile
from rerec_pipeline.grounding.reading import SMALL_WORDS, Reading, years_in
from rerec_pipeline.recbench.mentions import PhraseIndex, cased_words, words
from rerec_pipeline.recbench.relations import (
    KIND_CUES,
    RELATION_CUES,
    RELATION_STEMS,
    plain_name,
    stems_of,
)
from rerec_pipeline.recbench.titles import ItemIndex, natural_order, split_year

#: Marks that people leave out: "Mars Attacks", "Mrs Doubtfire", "Samuel L Jackson".
_MARKS = re.compile(r"\s+-(?=\s)|[.:!?,](?!\S)|(?<=\b\w)\.(?=\w)")
_OTHER_NAME = re.compile(r"^(?P<first>.+?) \((?P<second>[^()]*\D[^()]*)\)$")
#: An item with more values in a relation may have one that the graph lacks: actors, not directors.
_WHOLE = 2


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
        self._relations = Stems(relation_cues)
        kinds = [(n, v) for n, (_, v) in enumerate(facts.attributes) if facts.is_kind[n]]
        cues = KIND_CUES if kind_cues is None else kind_cues
        self._kinds = Stems({n: cues.get(value, (_whole(value),)) for n, value in kinds})
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
                whole = plain_name(value)
                for name in dict.fromkeys((whole, _without_marks(whole))):
                    yield name, -1 - number, False

    def link(self, text: str) -> Links:
        """Finds everything in a text that the catalogue and the graph know.

        Args:
            text: A request of any length; an empty one, or one in a script in which nothing is
                known, has no links.
        """
        # Not by the cache of ``words``: it would keep what users write.
        said, cased = words.__wrapped__(text), cased_words(text)
        reading = Reading(said, cased if len(cased) == len(said) else said)
        spans = list(self._index.scan(said, lambda *at: self._accept(reading, *at)))
        covered = {at for span in spans for at in range(span.start, span.end)}
        ends = reading.sentence_ends(covered)
        free = [at for at in range(len(said)) if at not in covered]
        cues = [(at, relation) for relation, at in self._relations.find(said, free)]
        at_cues = {at for at, _ in cues}
        ahead = {at for at in at_cues if reading.points_ahead(at)}
        named, values = [], []
        for span in spans:
            sentence = bisect_right(ends, span.start)
            items = tuple(sorted(key for key in span.keys if key >= 0))
            if items:
                named.append(NamedItem(items, span.start, span.end, sentence))
            numbers = tuple(sorted(-1 - key for key in span.keys if key < 0))
            if numbers:
                near = nearest_relations(span.start, span.end, cues, ends, ahead)
                no = reading.is_denied(span.start, at_cues)
                where = (span.start, span.end, sentence)
                values.append(NamedValue(numbers, frozenset(near), *where, denied=no))
        bound = {at for value in values for at in cues_of(value, cues, ends)}
        free_cues = [(at, relation) for at, relation in cues if at not in bound]
        return Links(
            text,
            tuple(named),
            tuple(values),
            tuple(
                dict.fromkeys(
                    number
                    for number, at in self._kinds.find(said, free)
                    if not reading.is_denied(at, at_cues)
                )
            ),
            frozenset(relation for _, relation in cues),
            frozenset(relation for _, relation in free_cues),
            tuple(dict.fromkeys(self._claims(reading, named, values))),
            tuple(dict.fromkeys(self._strange_claims(reading, named, free, free_cues, ends))),
            tuple(years_in(said, covered)),
            read_profile(said, free),
        )

    # -- mentions ------------------------------------------------------------------------

    def _accept(
        self, reading: Reading, keys: tuple, start: int, end: int, _open_ended: bool
    ) -> tuple:
        items = tuple(key for key in keys if key >= 0)
        values = tuple(key for key in keys if key < 0)
        year = reading.year_after(end)
        if items and year is not None:
            meant = tuple(i for i in items if (y := self._years[i]) is None or abs(y - year) <= 1)
            exact = tuple(i for i in meant if self._years[i] == year)
            return exact or meant
        # "Vampire's Kiss (1989)" is a film that the catalogue lacks, not the band Kiss.
        if values and year is None and reading.is_name(start, end):
            return values
        if items and (
            reading.is_marked(start, end) or self._is_written(reading, items, start, end)
        ):
            return () if reading.sequel_follows(end) else items
        return ()

    def _is_written(self, reading: Reading, items: tuple, start: int, end: int) -> bool:
        """Whether words are written like a title, or, if several, as the catalogue has them."""
        if not self._is_no_part(reading, start, end):
            return False
        if reading.is_title(start, end):
            return True
        said = list(reading.cased[start:end])  # "Belle de jour"
        return (
            len(said) > 1
            and reading.is_capital(start)
            and any(
                cased_words(name) == said
                for item in items
                for name in spoken_titles(self.catalogue.titles[item])
            )
        )

    def _is_no_part(self, reading: Reading, start: int, end: int) -> bool:
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
        reading: Reading,
        named: Sequence[NamedItem],
        values: Sequence[NamedValue],
    ) -> Iterator[Claim]:
        """Checks each name that stands with a title in one clause: "X ... directed by Y"."""
        checked = set()
        for item in named:
            for value in values:
                pair = (item.items, value.attributes, value.relations)
                if value.sentence != item.sentence or pair in checked:  # the same said again
                    continue
                if value.denied or reading.asks_between(item, value):
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
                    continue
                instead = tuple(attributes[a][1] for a in there)
                if instead and not any(_may_be_one(value, other) for other in instead):
                    yield Claim(item, relation, value, "contradicted", instead)
                else:
                    yield Claim(item, relation, value, "unknown")

    def _strange_claims(
        self,
        reading: Reading,
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
            if reading.is_denied(start, at_cues):
                continue
            around = cues_within(cues, start - 2, end + 4)
            places = [(at, r) for at, r in around if reading.speaks_of(start, end, at)]
            relations = {r for _, r in places} & nearest_relations(start, end, cues, ends)
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
        spoken = natural_order(name)
        names += [spoken, _without_marks(spoken)]
    return list(dict.fromkeys(name for name in names if words(name)))


def _may_be_one(name: str, other: str) -> bool:
    """Whether two names differ within alone: "Francis Coppola", "Francis Ford Coppola"."""
    first, second = words(name), words(plain_name(other))
    return (
        min(len(first), len(second)) > 1 and first[:: len(first) - 1] == second[:: len(second) - 1]
    )


def _without_marks(name: str) -> str:
    """A name as people write it who leave out its marks and spell out "and"."""
    return _MARKS.sub("", name).replace(" & ", " and ").strip()


def _whole(value: str) -> str:
    return f"{value} "
