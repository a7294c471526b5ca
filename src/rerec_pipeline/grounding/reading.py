"""The words of a request, and what their capitals, quotes, brackets and sentences say."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from rerec_pipeline.grounding.links import NamedItem, NamedValue

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
#: Words that say that what follows is not wanted, and those that may stand between.
_DENIALS = frozenset(("not", "without", "except", "excluding", "besides"))
_DENIED = frozenset((
    "a", "an", "the", "any", "anything", "something", "one", "ones", "those", "film", "films",
    "movie", "movies", "by", "with", "from", "of", "fan", "want", "like", "need",
))  # fmt: skip
_SHORTENED = frozenset(("don", "doesn", "didn", "isn", "aren", "wasn", "weren"))
_MOST_DENIED = 6
_POINTING = frozenset(("starring", "stars", "featuring"))
#: On either side of a name, so many titles may be spoken of: a long text takes no longer a word.
_MOST_TITLES = 8


class Reading:
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

    def is_marked(self, start: int, end: int) -> bool:
        """Whether words stand between quote marks, or are all that is said."""
        return self.is_quoted(start, end) or (
            start == 0 and not any(w[0].isalnum() for w in self.said[end:])
        )

    def is_denied(self, start: int, cues: Collection[int]) -> bool:
        """Whether a name is not wanted: "not directed by X", "other than films with X", "no X".

        Args:
            start: Position of its first word.
            cues: Positions of words that speak of relations.
        """
        at, least = start - 1, max(0, start - _MOST_DENIED)
        while at >= least and (at in cues or self.said[at] in _DENIED):
            at -= 1
        if at < 0:
            return False
        word, before = self.said[at], self.said[max(0, at - 2) : at]
        if word == "no":
            return at == start - 1
        if word == "than":
            return before[-1:] in (("other",), ("rather",))
        if word == "t":
            return before[-1:] == ("'",) and before[0] in _SHORTENED
        return word in _DENIALS and before[-1:] != ("why",)

    def year_after(self, end: int) -> int | None:
        """The year in brackets after a position, also behind other names in brackets."""
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
            and not (word == "." and n and self._is_short(self.said[n - 1]))
        ]

    @staticmethod
    def _is_short(word: str) -> bool:
        """Whether a dot behind a word shortens it, as an initial; "(1995)." and "Part 2." end."""
        return word in _INITIALS or (len(word) == 1 and word.isalpha())

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

    def points_ahead(self, at: int) -> bool:
        """Whether a cue speaks of what follows it: "directed by", "starring"."""
        return self.said[at] in _POINTING or self.said[at + 1 : at + 2] == ("by",)

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


def years_in(said: Sequence[str], covered: set[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of every year and decade at a position that is not covered."""
    for at, word in enumerate(said):
        if at in covered or not word[0].isdigit():
            continue
        if (decade := _DECADE.fullmatch(word)) is not None:
            century = int(decade[1] or (19 if int(decade[2]) > 2 else 20))
            first = century * 100 + int(decade[2]) * 10
            yield first, first + 9
        elif re.fullmatch(r"(18|19|20)\d\d", word):
            yield int(word), int(word)
