"""Words that speak of relations and kinds: found in a text, and what each of them belongs to."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from rerec_pipeline.grounding.links import NamedValue
from rerec_pipeline.recbench.mentions import words
from rerec_pipeline.recbench.relations import FALSE_CUES

_PLACE = itemgetter(0)


class Stems:
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


def _distance(start: int, end: int, at: int) -> int:
    return start - at if at < start else at - end + 1


def nearest_relations(
    start: int, end: int, cues: Sequence[tuple[int, str]], ends: Sequence[int]
) -> set[str]:
    """Relations of the cues that are nearest to a name, in its sentence.

    Args:
        start: Position of the name's first word.
        end: Position after its last.
        cues: (position, relation) of every cue, by position.
        ends: Positions of the marks that end a sentence.
    """
    sentence, after = bisect_right(ends, start), bisect_left(cues, start, key=_PLACE)
    beside = {cues[n][0] for n in (after - 1, after) if 0 <= n < len(cues)}
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
    """Positions of the cues that speak of a named value: the nearest, at most five words away."""
    around = cues_within(cues, value.start - 5, value.end + 5)
    places = [
        (_distance(value.start, value.end, at), at) for at, r in around if r in value.relations
    ]
    same = [(d, at) for d, at in places if bisect_right(ends, at) == value.sentence and d <= 5]
    least = min((d for d, _ in same), default=0)
    return [at for d, at in same if d == least]
