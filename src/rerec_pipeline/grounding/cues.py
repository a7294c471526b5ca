"""Cues: words that speak of a relation or a kind, found in a text and assigned to named values."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import itemgetter

from rerec_pipeline.grounding.links import NamedValue
from rerec_pipeline.recbench.mentions import words
from rerec_pipeline.recbench.relations import FALSE_CUES

_PLACE = itemgetter(0)


class Stems:
    """Beginnings of words (stems), looked up in running text.

    Args:
        stems: Key -> its stems. A stem of one word that ends with a space matches that whole word
            only. In a stem of several words the last may always be the beginning of a word.
    """

    def __init__(self, stems: Mapping):
        self._beginnings: dict[str, list] = {}
        self._whole: dict[str, list] = {}
        self._phrases: dict[str, list[tuple[tuple[str, ...], object]]] = {}
        for key, given in stems.items():
            for stem in given:
                parts = words(stem)
                if len(parts) > 1:
                    self._phrases.setdefault(parts[0], []).append((parts, key))
                elif parts:
                    table = self._whole if stem.endswith(" ") else self._beginnings
                    table.setdefault(parts[0], []).append(key)
        self._lengths = sorted({len(stem) for stem in self._beginnings})

    def find(self, said: Sequence[str], places: Sequence[int]) -> Iterator[tuple]:
        """Finds the stems that begin at some words.

        Args:
            said: The folded words of a text (``recbench.mentions.words``).
            places: Positions of the words to look at.

        Yields:
            (key, position of the first word) of every match; a key at most once for a position.
        """
        for at in places:
            word = said[at]
            if word in FALSE_CUES:
                continue
            found = list(self._whole.get(word, ()))
            for length in self._lengths:
                if length > len(word):
                    break
                found += self._beginnings.get(word[:length], ())
            for parts, key in self._phrases.get(word, ()):
                rest = said[at : at + len(parts)]
                if tuple(rest[:-1]) == parts[:-1] and rest[-1].startswith(parts[-1]):
                    found.append(key)
            for key in dict.fromkeys(found):
                yield key, at


def _distance(start: int, end: int, at: int) -> int:
    """Words from a position to a span that does not contain it (end exclusive); 1 beside it."""
    return start - at if at < start else at - end + 1


def nearest_relations(
    start: int,
    end: int,
    cues: Sequence[tuple[int, str]],
    ends: Sequence[int],
    ahead: Collection[int] = (),
) -> set[str]:
    """Relations of the cues that are nearest to a name, within its sentence.

    Args:
        start: Position of the name's first word.
        end: Position after its last word.
        cues: (position, relation) of every cue, sorted by position.
        ends: Sorted positions of the marks that end a sentence.
        ahead: Positions of cues that speak only of what follows them: "by X, with music by Y"
            says nothing of X's music.

    Returns:
        The relations; several if cues are equally near, none without a cue in the sentence.
    """
    sentence, after = bisect_right(ends, start), bisect_left(cues, start, key=_PLACE)
    beside = {cues[n][0] for n in (after - 1, after) if 0 <= n < len(cues)}
    beside -= {at for at in beside if at >= end and at in ahead}
    near = [(_distance(start, end, at), at) for at in beside if bisect_right(ends, at) == sentence]
    least = min((distance for distance, _ in near), default=0)
    nearest = [at for distance, at in near if distance == least]
    return {relation for at in nearest for _, relation in cues_within(cues, at, at)}


def cues_within(
    cues: Sequence[tuple[int, str]], first: int, last: int
) -> Sequence[tuple[int, str]]:
    """The cues from one position to another, both included."""
    return cues[bisect_left(cues, first, key=_PLACE) : bisect_right(cues, last, key=_PLACE)]


def cues_of(value: NamedValue, cues: Sequence[tuple[int, str]], ends: Sequence[int]) -> list[int]:
    """Positions of the cues that speak of a named value.

    They are the nearest ones for its relations, in its sentence and at most five words away.

    Args:
        value: The named value.
        cues: (position, relation) of every cue, sorted by position.
        ends: Sorted positions of the marks that end a sentence.
    """
    around = cues_within(cues, value.start - 5, value.end + 5)
    places = [
        (_distance(value.start, value.end, at), at) for at, r in around if r in value.relations
    ]
    same = [(d, at) for d, at in places if bisect_right(ends, at) == value.sentence and d <= 5]
    least = min((d for d, _ in same), default=0)
    return [at for d, at in same if d == least]
