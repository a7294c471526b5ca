"""Finding whole titles and attribute values in running text.

Matching is on words, longest match first, so "Toy Story" is not found inside "Toy Story 2".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import marisa_trie

from rerec_pipeline.recbench.titles import ItemIndex, natural_order, split_year, tidy

_WORD = re.compile(r"\w+|[^\w\s\0]")  # NUL ends a key of the trie, and is seen by nobody
_SEQUEL = re.compile(r"\d+|i{2,3}|iv|vi{0,3}|ix", re.IGNORECASE)


@lru_cache(maxsize=65536)
def words(text: str) -> tuple[str, ...]:
    """Folds a text into its words and punctuation marks."""
    return tuple(_WORD.findall(tidy(text).casefold()))


def cased_words(text: str) -> list[str]:
    """The words and punctuation marks of a text as they are written."""
    return _WORD.findall(tidy(text))


@dataclass(frozen=True)
class Mention:
    """One phrase found: what it stands for, and where (word positions, end exclusive)."""

    keys: frozenset
    start: int
    end: int


Accept = Callable[[tuple, int, int, bool], tuple]


class PhraseIndex:
    """A dictionary of phrases that can be looked up in running text.

    Phrases are words joined by one space each and kept in a trie; what begins at a word of the
    text are the phrases that are prefixes of the rest of it. The space after each word keeps
    matches on whole words.

    Args:
        phrases: (phrase, key, open_ended) triples. Several keys may share a phrase. An
            open-ended phrase is a title without its year: it is no mention when a year, a
            number or a Roman numeral follows, for then another title is meant.
    """

    def __init__(self, phrases: Iterable[tuple[str, object, bool]]):
        keys: dict[str, tuple] = {}
        opened: set[str] = set()
        for phrase, key, open_ended in phrases:
            form = _spaced(words(phrase))
            if not form:
                continue
            keys[form] = (*keys.get(form, ()), key)
            if open_ended:
                opened.add(form)
        self._trie = marisa_trie.Trie(keys)
        self._keys: list[tuple] = [()] * len(keys)
        self._open = bytearray(len(keys))
        for form, meant in keys.items():
            number = self._trie[form]
            self._keys[number] = meant
            self._open[number] = form in opened
        self._longest = max(map(len, keys), default=0)

    def find(self, text: str) -> list[Mention]:
        """All mentions in a text, left to right, longest first, without overlap."""
        said = words(text)

        def accept(keys: tuple, start: int, end: int, open_ended: bool) -> tuple:
            return () if open_ended and _goes_on(said, end) else keys

        return list(self.scan(said, accept))

    def scan(self, said: Sequence[str], accept: Accept) -> Iterator[Mention]:
        """The mentions in folded words, left to right, longest first, without overlap.

        Args:
            said: The words of a text (see ``words``).
            accept: Given the keys of a phrase, where it starts and ends, and whether it is
                open-ended, the keys that it stands for there; none lets a shorter phrase count.
        """
        spaced = _spaced(said)
        at = place = 0
        while at < len(said):
            end = at + 1
            for form in reversed(self._trie.prefixes(spaced[place : place + self._longest])):
                number, stop = self._trie[form], at + form.count(" ")
                keys = accept(self._keys[number], at, stop, bool(self._open[number]))
                if keys:
                    yield Mention(frozenset(keys), at, stop)
                    end = stop
                    break
            place += sum(len(word) + 1 for word in said[at:end])
            at = end


def _spaced(text: Sequence[str]) -> str:
    return "".join(f"{word} " for word in text)


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


def title_index(catalogue: ItemIndex) -> PhraseIndex:
    """A phrase index of all titles; keys are item indices."""
    return PhraseIndex(
        (form, index, open_ended)
        for index, title in enumerate(catalogue.titles)
        for form, open_ended in title_forms(title)
    )
