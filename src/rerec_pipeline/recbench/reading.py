"""Reading the raw files of the published layout into plain rows.

Each function takes the text of a file and its name; none touches the disk. A malformed line
stops the reading with the file, the line and the field.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.relations import canonical_relation, spellings
from rerec_pipeline.recbench.titles import split_year, tidy

logger = logging.getLogger(__name__)

SEPARATOR = "::"
GENDERS = ("F", "M")


def decode(data: bytes, source: object, *, latin1: bool = False) -> str:
    """Decodes a raw file: UTF-8 (with or without a byte-order mark), or Latin-1 where allowed.

    MovieLens publishes Latin-1, the benchmark's release UTF-8. JSON is UTF-8 by its standard
    (RFC 8259, 8.1).

    Args:
        data: Content of the file.
        source: Its name, for errors.
        latin1: Whether the file may be Latin-1, see ``latin1_lines``.

    Raises:
        BadInputError: At the first byte that is neither, or at a NUL, with its line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        check_not_utf8(data.split(b"\n"), source, latin1)
        text = data.decode("latin-1")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInputError(
            source, "a NUL character, which no text has", record=f"line {line}", remedy=_AS_UTF8
        )
    return text


_AS_UTF8 = "Save the file as UTF-8, or get an undamaged copy"


def check_not_utf8(lines: Iterable[bytes], source: object, latin1: bool) -> None:
    """Checks that lines, not all of which are UTF-8, are Latin-1 throughout.

    A file is taken for Latin-1 only if no line of it has characters of UTF-8 beyond ASCII, and
    none a control character of Latin-1 (0x80 to 0x9f): one damaged byte in a UTF-8 file must not
    change how all other lines are read. In a file of ASCII it cannot be told from Latin-1: the
    warning says where it is.

    Args:
        lines: The lines, without their ends.
        source: Name of the file, for errors.
        latin1: Whether the file may be Latin-1.

    Raises:
        BadInputError: If the file is not Latin-1 or must not be; with line and byte.
    """
    first: tuple[int, int, int] | None = None  # line, column and byte
    count, mixed = 0, False
    for number, line in enumerate(lines, start=1):
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            mixed = True
        except UnicodeDecodeError as exc:
            count += 1
            first = first or (number, exc.start + 1, line[exc.start])
            control = next((n for n, byte in enumerate(line) if 0x80 <= byte <= 0x9F), None)
            if control is not None:
                first, mixed = (number, control + 1, line[control]), True
        if first is not None and (mixed or not latin1):
            also = ", and the file as a whole is not Latin-1" if latin1 else ""
            raise BadInputError(
                source, f"byte 0x{first[2]:02x} at column {first[1]} is not UTF-8{also}",
                record=f"line {first[0]}", remedy=_AS_UTF8,
            )  # fmt: skip
    if first is not None:
        logger.warning(
            "%s is read as Latin-1: %d lines are not UTF-8, the first is line %d (byte 0x%02x)",
            source, count, first[0], first[2],
        )  # fmt: skip


def has_visible(text: str) -> bool:
    """Whether a text has any character that can be seen (no white space, no control code)."""
    return any(not c.isspace() and unicodedata.category(c) not in _UNSEEN for c in text)


_UNSEEN = ("Cc", "Cf", "Co", "Cs")


def _dat_lines(
    text: str, source: object, fields: tuple[str, ...]
) -> Iterator[tuple[str, list[str]]]:
    for number, ended in enumerate(text.split("\n"), start=1):
        line = ended.rstrip("\r")
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split(SEPARATOR)]
        if len(parts) != len(fields):
            raise BadInputError(
                source,
                f"expected {len(fields)} fields ({SEPARATOR.join(fields)}), found {len(parts)}",
                record=f"line {number}",
            )
        if not has_visible(parts[0]):
            raise BadInputError(source, "the id is empty", record=f"line {number}", field=fields[0])
        yield f"line {number}", parts


def csv_rows(text: str, source: object) -> Iterator[tuple[str, list[str]]]:
    """Reads CSV: ("line N", its fields) of every line that is not empty.

    Raises:
        BadInputError: At a line that is not CSV (a quote that is not closed, a carriage return
            inside a line, a field of more than 128 kB).
    """
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        try:
            parts = next(lines)
        except StopIteration:
            return
        except csv.Error as exc:
            raise BadInputError(
                source, f"not CSV ({exc})", record=f"line {lines.line_num}",
                remedy="Quote fields that hold a comma, a quote mark or a line break",
            ) from None  # fmt: skip
        if parts:
            yield f"line {lines.line_num}", parts


def _integer(value: str, source: object, record: str, field: str) -> int:
    # Not int(): it takes other scripts' digits, signs and "1_000".
    if re.fullmatch(r"[0-9]{1,18}", value) is None:
        raise BadInputError(
            source, f"expected a whole number, found '{value:.40}'", record=record, field=field
        )
    return int(value)


def read_items(text: str, source: object) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Reads ``ItemID::Title::Kind|Kind`` lines (movies.dat, books.dat).

    Whole-numbered ids are kept. Where any id is another text (Amazon's; ``007``), items are
    numbered by their order in the file instead; ``raw_id`` always says what the files call them.

    Args:
        text: Content of the file.
        source: Its name, for errors.

    Returns:
        Items as rows (item_id, raw_id, title, year or None), and their kinds (item_id, kind).

    Raises:
        BadInputError: At a malformed line or an id that occurs twice.
    """
    rows = list(_item_lines(text, source))
    if not rows:
        raise BadInputError(source, "the file has no items")
    # One way to write each number: "007" is another id than "7".
    numbered = all(re.fullmatch(r"0|[1-9][0-9]{0,17}", raw) for raw, _, _ in rows)
    items: list[dict[str, Any]] = []
    kinds: list[dict[str, Any]] = []
    for order, (raw, title, names) in enumerate(rows, start=1):
        item_id = int(raw) if numbered else order
        year = split_year(title)[1]
        items.append({"item_id": item_id, "raw_id": raw, "title": title, "year": year})
        values = dict.fromkeys(kind.strip() for kind in names.split("|") if kind.strip())
        kinds += [{"item_id": item_id, "kind": kind} for kind in values]
    return items, kinds


def _item_lines(text: str, source: object) -> Iterator[tuple[str, str, str]]:
    first_seen: dict[str, str] = {}
    for record, (raw, title, names) in _dat_lines(text, source, ("ItemID", "Title", "Kinds")):
        if raw in first_seen:
            raise BadInputError(
                source,
                f"the id {raw} was already used in {first_seen[raw]}",
                record=record,
                field="ItemID",
            )
        if not has_visible(title):
            raise BadInputError(source, "the title is empty", record=record, field="Title")
        first_seen[raw] = record
        yield raw, title, names


def read_users(text: str, source: object) -> list[dict[str, Any]]:
    """Reads ``UserID::Gender::Age::Occupation::Zip`` lines (users.dat).

    Raises:
        BadInputError: At a malformed line or an id that occurs twice, or if there is no user.
    """
    rows, seen = [], set()
    fields = ("UserID", "Gender", "Age", "Occupation", "Zip-code")
    for record, (user, gender, age, occupation, _zip) in _dat_lines(text, source, fields):
        if user in seen:
            raise BadInputError(
                source, f"the id {user} occurs twice", record=record, field="UserID"
            )
        if gender not in GENDERS:
            raise BadInputError(
                source, f"expected {' or '.join(GENDERS)}, found '{gender:.40}'", record=record,
                field="Gender",
            )  # fmt: skip
        seen.add(user)
        rows.append(
            {
                "user_id": user,
                "gender": gender,
                "age": _integer(age, source, record, "Age"),
                "occupation": _integer(occupation, source, record, "Occupation"),
            }
        )
    if not rows:
        raise BadInputError(
            source, "the file has no users", remedy="Delete it if there are no profiles"
        )
    return rows


def read_attributes(
    text: str,
    source: object,
    id_of_raw: Mapping[str, int],
    added: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Reads an edge list ``item,relation,value`` with a header line (item_attributes.csv).

    Args:
        text: Content of the file.
        source: Its name, for errors.
        id_of_raw: Item ids by what the files call them.
        added: Relations beside the built-in ones, see ``relations.spellings``.

    Raises:
        BadInputError: At a malformed line, an unknown item or an unknown relation.
    """
    lines = csv_rows(text, source)
    _, header = next(lines, ("", []))
    if len(header) != 3:
        raise BadInputError(
            source, "expected a header of three columns (item, relation, value)", record="line 1"
        )
    rows, known = [], spellings(added)
    for record, parts in lines:
        if len(parts) != 3:
            raise BadInputError(source, f"expected 3 fields, found {len(parts)}", record=record)
        item_id = id_of_raw.get(parts[0].strip())
        if item_id is None:
            raise BadInputError(
                source, f"item {parts[0]} is not in the items file", record=record, field=header[0]
            )
        relation = canonical_relation(parts[1], source=source, record=record, known=known)
        value = tidy(parts[2])
        if not has_visible(value):
            raise BadInputError(source, "the value is empty", record=record, field=header[2])
        rows.append({"item_id": item_id, "relation": relation, "value": value})
    return rows


def read_json(text: str, source: object) -> Any:
    """Parses a JSON file.

    Raises:
        BadInputError: If it is not JSON, with the line and column, or holds what no text can.
    """
    return _parse(text, source, "")


def read_json_lines(text: str, source: object) -> list[dict[str, Any]]:
    """Parses JSON lines: one object a line; empty lines are passed over.

    Raises:
        BadInputError: If a line is not a JSON object, with its number; or if there is none.
    """
    rows = []
    # Not splitlines(): a response may hold other line breaks (U+2028, U+0085) as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row = _parse(line, source, f"line {number}")
        if not isinstance(row, dict):
            raise BadInputError(source, "expected a JSON object", record=f"line {number}")
        rows.append(row)
    if not rows:
        raise BadInputError(source, "there is no record in it")
    return rows


def _parse(text: str, source: object, record: str) -> Any:
    """One JSON value, of ``record`` or (where that is empty) of a whole file."""
    try:
        parsed = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_distinct)
    except json.JSONDecodeError as exc:
        record = record or f"line {exc.lineno}"
        raise BadInputError(
            source, f"not valid JSON ({exc.msg})", record=f"{record}, column {exc.colno}"
        ) from None
    except (ValueError, RecursionError) as exc:
        problem = f"JSON that cannot be read ({exc})"
        raise BadInputError(source, problem, record=record or None) from None
    _check_writable(parsed, source, record)
    return parsed


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {twice!r:.60} twice")
    return found


def _check_writable(parsed: Any, source: object, record: str) -> None:
    """Half a surrogate pair can be escaped in JSON, but not be written to any file."""
    try:
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as exc:
        if not record and isinstance(parsed, list):
            for number, entry in enumerate(parsed):
                _check_writable(entry, source, f"record {number}")
        code = ord(exc.object[exc.start])
        raise BadInputError(
            source, f"half a surrogate pair (U+{code:04X}) is no character", record=record or None
        ) from None
