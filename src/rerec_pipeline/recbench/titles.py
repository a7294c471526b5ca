"""Titles: one resolver from text to item, used by reward, advantage and evaluation alike.

A title is looked up exactly first and then by its normal form: case, white space, ``_`` for a
space, Unicode composition and quote marks do not matter, "Harbor, The (1999)" equals
"The Harbor (1999)", and the year may be missing where that leaves one item only. Where there is a
list to choose from, its items come first. A title that fits two items resolves to none: nothing
is ever replaced by a guess.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.answers import can_be_boxed

ARTICLES = (
    "the", "a", "an", "le", "la", "les", "l'", "il", "lo", "gli", "el", "los", "las",
    "un", "une", "una", "der", "die", "das", "ein", "eine", "o", "os", "as", "en", "det",
)  # fmt: skip

#: In place of an item's index: that there is none, that there are several.
NO_ITEM, SEVERAL = -1, -2

_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "`": "'"})
_TRAILING_ARTICLE = re.compile(
    r"^(?P<rest>.+), (?P<article>"
    + "|".join(re.escape(a) for a in ARTICLES)
    + r")(?P<other> \(.+\))?$",
    re.IGNORECASE,
)


def split_year(title: str) -> tuple[str, int | None]:
    """Splits "Title (1999)" into ("Title", 1999); the year is None where there is none."""
    title = title.strip()
    if title[-1:] != ")" or title[-6:-5] != "(" or not title[-5:-1].isdecimal():
        return title, None
    return title[:-6].rstrip(), int(title[-5:-1])


def natural_order(title: str) -> str:
    """Moves a trailing article to the front: "Harbor, The (1999)" -> "The Harbor (1999)".

    Another title in brackets stays where it is: "Boat, The (Das Boot)" -> "The Boat (Das Boot)".
    """
    name, year = split_year(title)
    match = _TRAILING_ARTICLE.match(name) if ", " in name else None
    if match is not None:
        article, rest = match.group("article"), match.group("rest")
        name = f"{article}{rest}" if article.endswith("'") else f"{article} {rest}"
        name += match.group("other") or ""
    return name if year is None else f"{name} ({year})"


def tidy(text: str) -> str:
    """One spelling of quotes, composition and white space; case is kept."""
    plain = text.isascii() and "`" not in text
    one = text if plain else unicodedata.normalize("NFC", text).translate(_QUOTES)
    return " ".join(one.replace("_", " ").split())


@lru_cache(maxsize=65536)
def normal_form(title: str) -> tuple[str, int | None]:
    """The key under which two spellings of one title meet: (folded name, year or None)."""
    text = tidy(title)
    name, year = split_year(natural_order(text) if ", " in text else text)
    return name.casefold(), year


class ItemIndex:
    """All items with their titles; resolves text to an item and back.

    Items are addressed by their position 0..N-1 ("index") everywhere in the algorithms, so that
    a table, the attribute graph and the embeddings share one order; ``item_ids`` maps back.

    Two items may have the very same title (editions of a book): such a title resolves to none.

    Args:
        item_ids: Ids of the items, N distinct integers.
        titles: Titles in the same order, as the data set writes them.
        raw_ids: Ids as the raw files have them, N distinct texts; None where they are the same.

    Raises:
        BadInputError: If an id occurs twice.
    """

    def __init__(
        self,
        item_ids: Sequence[int],
        titles: Sequence[str],
        raw_ids: Sequence[str] | None = None,
        source: str = "items",
    ):
        self.item_ids = [int(i) for i in item_ids]
        self.titles = list(titles)
        self.index_of_id = {item: index for index, item in enumerate(self.item_ids)}
        raw = map(str, self.item_ids) if raw_ids is None else raw_ids
        self.id_of_raw = dict(zip(raw, self.item_ids, strict=True))
        if not len(self.index_of_id) == len(self.id_of_raw) == len(self.item_ids):
            raise BadInputError(source, "an item id occurs twice", field="item_id")
        self._exact: dict[str, list[int]] = {}
        self._normal: dict[tuple[str, int | None], list[int]] = {}
        self._yearless: dict[str, list[int]] = {}
        for index, title in enumerate(self.titles):
            name, year = normal_form(title)
            self._exact.setdefault(title, []).append(index)
            self._normal.setdefault((name, year), []).append(index)
            self._yearless.setdefault(name, []).append(index)

    def __len__(self) -> int:
        return len(self.item_ids)

    def readings(self, title: str) -> tuple[Sequence[int], ...]:
        """The items that a title fits: exactly, by its normal form, and without its year."""
        name, year = key = normal_form(title)
        # Only a title *without* a year may stand for one with a year: a wrong year is wrong.
        yearless = self._yearless.get(name, ()) if year is None else ()
        return self._exact.get(title, ()), self._normal.get(key, ()), yearless

    def only_reading(self, title: str) -> int:
        """The one item that a title fits, ``NO_ITEM`` where none, ``SEVERAL`` where more do."""
        name, year = key = normal_form(title)
        # An item that fits in a closer reading fits in the widest one.
        widest = self._yearless.get(name, ()) if year is None else self._normal.get(key, ())
        if len(widest) > 1:
            return SEVERAL
        return widest[0] if widest else NO_ITEM

    def resolve(self, title: str) -> int | None:
        """Finds the item a title means, where there is no list to choose from.

        Args:
            title: Text as a person or a model writes it.

        Returns:
            The item's index, or None if no item or more than one fits.
        """
        return choose(self.readings(title))

    def find_whole(self, title: str) -> int | None:
        """Finds the item whose whole title this is, the year included where the item has one."""
        exact, normal, _ = self.readings(title)
        return choose((exact or normal,))

    def is_ambiguous(self, title: str) -> bool:
        """Whether a title fits several items (and therefore resolves to none)."""
        return any(self.readings(title)) and self.resolve(title) is None

    def is_unique(self, index: int) -> bool:
        """Whether no other item has this item's title."""
        return len(self._exact[self.titles[index]]) == 1

    def is_answerable(self, index: int) -> bool:
        r"""Whether an item's own title, in ``\boxed{}``, means this item and no other."""
        return self.is_unique(index) and can_be_boxed(self.titles[index])

    def indices(self, item_ids: Iterable[int]) -> list[int]:
        """Positions of data-set ids; a KeyError names an id that is not in the catalogue."""
        return [self.index_of_id[int(item)] for item in item_ids]


def choose(readings: Sequence[Sequence[int]], among: Container[int] = ()) -> int | None:
    """The one item of the closest reading that has any; items of ``among`` come first.

    Args:
        readings: See ``ItemIndex.readings``.
        among: Items that come before all others.

    Returns:
        The item's index, or None if no item or more than one fits equally well.
    """
    listed = [[item for item in items if item in among] for items in readings]
    for items in (*listed, *readings):
        if items:
            return items[0] if len(items) == 1 else None
    return None
