"""Finding whole titles and attribute values in running text.

Matching is on words, longest match first, so "Toy Story" is not found inside "Toy Story 2".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from rerec_pipeline.recbench.titles import Catalogue, natural_order, split_year, tidy

_WORD = re.compile(r"\w+|[^\w\s]")
_SEQUEL = re.compile(r"\d+|i{2,3}|iv|vi{0,3}|ix", re.IGNORECASE)


@lru_cache(maxsize=65536)
def words(text: str) -> tuple[str, ...]:
    """Folds a text into its words and punctuation marks."""
    return tuple(_WORD.findall(tidy(text).casefold()))


@dataclass(frozen=True)
class Mention:
    """One phrase found: what it stands for, and where (word positions, end exclusive)."""

    keys: frozenset
    start: int
    end: int


class PhraseIndex:
    """A dictionary of phrases that can be looked up in running text.

    Args:
        phrases: (phrase, key, open_ended) triples. Several keys may share a phrase. An
            open-ended phrase is a title without its year: it is no mention when a year, a
            number or a Roman numeral follows, for then another title is meant.
    """

    def __init__(self, phrases: Iterable[tuple[str, object, bool]]):
        self._keys: dict[tuple[str, ...], set] = {}
        self._open: set[tuple[str, ...]] = set()
        self._longest: dict[str, int] = {}
        for phrase, key, open_ended in phrases:
            form = words(phrase)
            if not form:
                continue
            self._keys.setdefault(form, set()).add(key)
            self._longest[form[0]] = max(self._longest.get(form[0], 0), len(form))
            if open_ended:
                self._open.add(form)

    def find(self, text: str) -> list[Mention]:
        """All mentions in a text, left to right, longest first, without overlap."""
        return list(self._scan(words(text)))

    def _scan(self, text: tuple[str, ...]) -> Iterator[Mention]:
        at = 0
        while at < len(text):
            length = self._match(text, at)
            if length:
                yield Mention(frozenset(self._keys[text[at : at + length]]), at, at + length)
            at += max(length, 1)

    def _match(self, text: tuple[str, ...], at: int) -> int:
        for length in range(min(self._longest.get(text[at], 0), len(text) - at), 0, -1):
            form = text[at : at + length]
            if form in self._keys and not (form in self._open and _goes_on(text, at + length)):
                return length
        return 0


def _goes_on(text: tuple[str, ...], end: int) -> bool:
    following = text[end : end + 3]
    if len(following) == 3 and following[0] == "(" and following[2] == ")":
        return re.fullmatch(r"\d{4}", following[1]) is not None
    return bool(following) and _SEQUEL.fullmatch(following[0]) is not None


def title_forms(title: str) -> list[tuple[str, bool]]:
    """The ways a text may write a title, each with whether it lacks the year.

    A one-word title without its year ("It", "Heat") is also an ordinary word and counts only
    between quote marks.
    """
    forms: list[tuple[str, bool]] = []
    for spelling in dict.fromkeys((title, natural_order(title))):
        name, year = split_year(spelling)
        if year is not None:
            forms.append((spelling, False))
        if len(words(name)) > 1:
            forms.append((name, True))
        else:
            forms += [(f"{mark}{name}{mark}", False) for mark in ("'", '"', "*")]
    return forms


def title_index(catalogue: Catalogue) -> PhraseIndex:
    """A phrase index of all titles; keys are item indices."""
    return PhraseIndex(
        (form, index, open_ended)
        for index, title in enumerate(catalogue.titles)
        for form, open_ended in title_forms(title)
    )
