r"""Raw interactions, in whatever file they come, as one stream of Arrow record batches.

A file is read block by block, so memory is that of a block however large the file is. What is
malformed stops the reading with the file, the line (of text) or row (of Parquet) and the field.
Text comes in one of these forms; the first line that is not empty says which:

========================  ===============================================  ====================
form                      a line                                           known from
========================  ===============================================  ====================
ratings, ``::``           ``1::1193::5::978300760``                        MovieLens
ratings, comma            ``A3L4WULGVDYZPQ,0002051850,5.0,1372809600``     Amazon's ratings-only
ratings, tab              ``196\t242\t3\t881250949``                       MovieLens-100K
adjacency                 ``0 1193 661 914``: user, item, item ...          LightGCN's train.txt
========================  ===============================================  ====================

The timestamp may be missing from all lines. Nothing is quoted. Ids are texts here: what item an
id stands for is decided in ``known_interactions``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ibis import _

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.reading import check_not_utf8
from rerec_pipeline.recbench.titles import split_year

#: What every form is brought into. ``record`` is the line (from 1) or the row (from 0).
RAW = pa.schema(
    [
        pa.field("record", pa.int64(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),
        pa.field("rating", pa.int64()),
        pa.field("timestamp", pa.int64()),
    ]
)
FIELDS = ("UserID", "ItemID", "Rating", "Timestamp")
SEPARATORS = ("::", "\t", ",")
ITEM_COLUMNS = ("movie_id", "book_id", "item_id")

BLOCK_CHARACTERS = 1 << 22
BLOCK_ROWS = 1 << 18

#: 18 digits always fit 64 bits.
_WHOLE = r"^[+-]?[0-9]{1,18}(\.0*)?$"


def read_interactions(path: Path) -> pa.RecordBatchReader:
    """Opens a file of interactions (``*.parquet``, else text) as a stream.

    The first rows are read at once, so that a file of an unknown form is refused here; an error
    further down is raised where the stream is consumed.

    Returns:
        Record batches of the schema ``RAW``. Rating and timestamp are null where unknown.

    Raises:
        BadInputError: If the file is empty or malformed.
    """
    batches = _parquet_batches(path) if path.suffix == ".parquet" else _text_batches(path)
    first = next((batch for batch in batches if batch.num_rows), None)
    if first is None:
        raise BadInputError(path, "the file has no interactions")
    return pa.RecordBatchReader.from_batches(RAW, itertools.chain([first], batches))


def items_named(path: Path) -> list[dict[str, object]]:
    """The items of a file of interactions that stands alone: what it names is taken for a title.

    Returns:
        Rows (item_id from 1 in sorted order, raw_id, title, year or None), as ``read_items`` gives.

    Raises:
        BadInputError: If the file is empty or malformed.
    """
    named: set[str] = set()
    for batch in read_interactions(path):
        named.update(pc.unique(batch.column("item")).to_pylist())
    return [
        {"item_id": n, "raw_id": name, "title": name, "year": split_year(name)[1]}
        for n, name in enumerate(sorted(named), start=1)
    ]


def item_keys(items: pd.DataFrame) -> pd.DataFrame:
    """How raw files name the items: ``key`` (the raw id, a text) and ``item_id``."""
    return items[["raw_id", "item_id"]].rename(columns={"raw_id": "key"})


def known_interactions(raw: ir.Table, keys: pd.DataFrame, source: Path) -> ir.Table:
    """Puts item ids for raw ids, and checks that all are known and no pair occurs twice.

    The checks run in the engine that holds ``raw``; the result is an expression of it.

    Args:
        raw: Interactions of the schema ``RAW``.
        keys: ``key`` and ``item_id``; several keys may stand for one item, not the reverse.
        source: The raw file, for errors.

    Returns:
        ``user_id`` (text), ``item_id`` (int64), ``rating`` and ``timestamp`` (int64 or null).

    Raises:
        BadInputError: At an item that is not in the items file, or a pair that occurs twice.
    """
    if keys["key"].duplicated().any():
        twice = keys.loc[keys["key"].duplicated(), "key"].iloc[0]
        raise BadInputError("the items", f"the raw id '{twice}' stands for two items")
    unit = _unit(source)
    table = ibis.memtable(keys, schema={"key": "string", "item_id": "int64"})
    unknown = raw.anti_join(table, raw.item == table.key)
    if (row := _first(unknown)) is not None:
        raise BadInputError(
            source,
            f"item {row['item']} is not in the items file",
            record=f"{unit} {row['record']}",
            field="ItemID",
        )
    linked = raw.inner_join(table, raw.item == table.key)
    pairs = linked.group_by("user_id", "item_id").aggregate(n=_.count(), record=_.record.max())
    if (row := _first(pairs.filter(_.n > 1))) is not None:
        raise BadInputError(
            source,
            f"the pair of user {row['user_id']} and item {row['item_id']} occurs twice",
            record=f"{unit} {row['record']}",
            field="ItemID",
        )
    return linked.select("user_id", "item_id", "rating", "timestamp")


def _first(table: ir.Table) -> dict[str, object] | None:
    rows = table.order_by("record").limit(1).to_pyarrow().to_pylist()
    return rows[0] if rows else None


def _unit(source: Path) -> str:
    return "row" if source.suffix == ".parquet" else "line"


# -- text ---------------------------------------------------------------------------------


def encoding_of(path: Path) -> str:
    """UTF-8 (with or without a byte-order mark), or Latin-1 throughout.

    See ``reading.decode`` for how it is decided; this one never holds the file in memory.

    Raises:
        BadInputError: If it is neither, with line and byte.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            while file.read(BLOCK_CHARACTERS):
                pass
    except UnicodeDecodeError:
        with path.open("rb") as lines:
            check_not_utf8((line.rstrip(b"\n") for line in lines), path, latin1=True)
        return "latin-1"
    return "utf-8-sig"


@dataclass(frozen=True)
class _Lines:
    """Lines of a block that are not empty, and the number of each in the file."""

    source: Path
    texts: pa.StringArray
    numbers: pa.Int64Array

    def stop(self, place: int, problem: str, field: str | None = None) -> NoReturn:
        raise BadInputError(
            self.source, problem, record=f"{_unit(self.source)} {self.numbers[place]}", field=field
        )


def _blocks(path: Path) -> Iterator[_Lines]:
    number = 1
    with path.open(encoding=encoding_of(path), newline="\n") as file:
        while text := file.read(BLOCK_CHARACTERS) + file.readline():
            if "\0" in text:
                line = number + text.count("\n", 0, text.index("\0"))
                problem = "a NUL character, which no text has"
                raise BadInputError(path, problem, record=f"line {line}")
            lines = pc.split_pattern(pa.array([text.removesuffix("\n")]), "\n").flatten()
            numbers = pa.array(np.arange(number, number + len(lines)))
            number += len(lines)
            lines = pc.utf8_rtrim(lines, "\r")
            filled = pc.not_equal(pc.utf8_trim_whitespace(lines), "")
            if filled.true_count:
                yield _Lines(path, lines.filter(filled), numbers.filter(filled))


def _text_batches(path: Path) -> Iterator[pa.RecordBatch]:
    form: tuple[str, int] | None = None
    for lines in _blocks(path):
        form = form or _form_of(lines)
        separator, fields = form
        yield _ratings(lines, separator, fields) if separator else _adjacency(lines)


def _form_of(lines: _Lines) -> tuple[str, int]:
    """Separator and number of fields, from the first line; no separator means adjacency."""
    line = lines.texts[0].as_py()
    separator = next((s for s in SEPARATORS if s in line), "")
    fields = len(line.split(separator)) if separator else len(line.split())
    if separator and fields not in (3, 4):
        wanted = separator.join(FIELDS[:3]) + f"[{separator}{FIELDS[3]}]"
        lines.stop(0, f"expected 3 or 4 fields ({wanted}), found {fields}")
    if not separator and not all(part.isdecimal() for part in line.split()):
        lines.stop(
            0,
            "neither ratings (user, item, rating and perhaps timestamp, separated by '::', a tab "
            "or a comma) nor adjacency (whole numbers: a user and then items)",
        )
    return separator, fields


def _ratings(lines: _Lines, separator: str, fields: int) -> pa.RecordBatch:
    parts = pc.split_pattern(lines.texts, separator)
    lengths = pc.list_value_length(parts)
    if (place := _where(pc.not_equal(lengths, fields))) is not None:
        wanted = separator.join(FIELDS[:fields])
        lines.stop(place, f"expected {fields} fields ({wanted}), found {lengths[place]}")
    columns = [pc.utf8_trim_whitespace(pc.list_element(parts, n)) for n in range(fields)]
    for column, field in zip(columns[:2], FIELDS, strict=False):
        if (place := _where(pc.equal(column, ""))) is not None:
            lines.stop(place, "the field is empty", field)
    numbers = [_whole(column, lines, f) for column, f in zip(columns[2:], FIELDS[2:], strict=False)]
    return _batch(lines.numbers, *columns[:2], *numbers)


def _adjacency(lines: _Lines) -> pa.RecordBatch:
    parts = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(lines.texts))
    lengths = pc.list_value_length(parts).to_numpy()
    values, owners = parts.flatten(), np.repeat(np.arange(len(parts)), lengths)
    if (place := _where(pc.invert(pc.utf8_is_decimal(values)))) is not None:
        problem = f"expected a whole number, found '{values[place]}'"
        lines.stop(int(owners[place]), problem, "UserID or ItemID")
    is_item = np.ones(len(values), dtype=bool)
    is_item[np.cumsum(lengths) - lengths] = False
    owners = pa.array(owners[is_item])
    users = pc.list_element(parts, 0).take(owners)
    return _batch(lines.numbers.take(owners), users, values.filter(pa.array(is_item)))


def _batch(numbers: pa.Array, users: pa.Array, items: pa.Array, *rest: pa.Array) -> pa.RecordBatch:
    unknown = [pa.nulls(len(numbers), pa.int64())] * (2 - len(rest))
    return pa.record_batch([numbers, users, items, *rest, *unknown], schema=RAW)


def _where(mask: pa.BooleanArray) -> int | None:
    place = pc.index(mask, True).as_py()
    return None if place < 0 else place


def _whole(column: pa.Array, lines: _Lines, field: str) -> pa.Array:
    """Whole numbers, written ``5`` or ``5.0``."""
    wrong = pc.invert(pc.match_substring_regex(column, _WHOLE))
    if (place := _where(wrong)) is not None:
        lines.stop(place, f"expected a whole number, found '{column[place]}'", field)
    return pc.replace_substring_regex(column, r"^\+|\..*$", "").cast(pa.int64())


# -- Parquet ------------------------------------------------------------------------------


#: What pyarrow raises on a damaged file; an I/O error of the disk looks the same to it.
_DAMAGED = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        names = file.schema_arrow.names
    except _DAMAGED as exc:
        raise BadInputError(path, f"not a Parquet file ({exc})") from None
    columns = _columns_of(names, path)
    blocks, start = file.iter_batches(BLOCK_ROWS, columns=columns), 0
    while True:
        try:
            batch = next(blocks)
            batch.validate(full=True)  # also that texts are UTF-8
        except StopIteration:
            return
        except _DAMAGED as exc:
            raise BadInputError(
                path, f"damaged ({exc})", record=f"at or after row {start}",
                remedy="Get an undamaged copy",
            ) from None  # fmt: skip
        rows = _Lines(path, None, pa.array(np.arange(start, start + len(batch))))
        start += len(batch)
        ids = [_ids(batch[name], rows, name) for name in columns[:2]]
        numbers = {name: _integers(batch[name], rows, name) for name in columns[2:]}
        blank = pa.nulls(len(batch), pa.int64())
        rest = [numbers.get(name, blank) for name in ("rating", "timestamp")]
        yield _batch(rows.numbers, *ids, *rest)


def _columns_of(names: list[str], path: Path) -> list[str]:
    """The columns of user and item, and of rating and timestamp as far as there are any."""
    item = next((name for name in ITEM_COLUMNS if name in names), "item_id")
    columns = ["user_id", item, *(name for name in ("rating", "timestamp") if name in names)]
    for name in columns:
        if (count := names.count(name)) != 1:
            problem = "the column occurs twice" if count else "the column is missing"
            raise BadInputError(path, problem, field=name)
    return columns


def _ids(column: pa.Array, rows: _Lines, field: str) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if (place := _where(column.is_null(nan_is_null=True))) is not None:
        rows.stop(place, "the value is missing", field)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    return _integers(column, rows, field).cast(pa.string())


def _integers(column: pa.Array, rows: _Lines, field: str) -> pa.Array:
    """Whole numbers of any numeric type; null and NaN are null."""
    kind = column.type
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        # Beyond 2^53 a float cannot tell one whole number from the next.
        fits = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), 2.0**53))
        if (place := _where(pc.invert(fits))) is not None:
            rows.stop(place, f"expected a whole number, found '{column[place]}'", field)
    elif pa.types.is_uint64(kind):
        if (place := _where(pc.greater(column, pa.scalar(2**63 - 1, kind)))) is not None:
            rows.stop(place, f"expected a number below 2^63, found {column[place]}", field)
    elif not (pa.types.is_integer(kind) or pa.types.is_null(kind)):
        rows.stop(0, f"expected whole numbers, found {kind}", field)
    return column.cast(pa.int64())
