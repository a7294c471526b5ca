"""Reading the raw files of the published layout into plain rows.

Each function takes the text of a file and its name; none touches the disk. A malformed line
stops the reading with the file, the line and the field.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.relations import canonical_relation
from rerec_pipeline.recbench.titles import split_year, tidy

SEPARATOR = "::"


def decode(data: bytes) -> str:
    """Decodes a raw file: UTF-8 (with or without a byte-order mark), else Latin-1.

    MovieLens publishes Latin-1, the benchmark's release UTF-8; a Latin-1 text with accents is
    never valid UTF-8 by accident in practice, so the order of the attempts decides correctly.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _dat_lines(
    text: str, source: object, fields: tuple[str, ...]
) -> Iterator[tuple[str, list[str]]]:
    for number, ended in enumerate(text.split("\n"), start=1):
        line = ended.rstrip("\r")
        if not line.strip():
            continue
        parts = line.split(SEPARATOR)
        if len(parts) != len(fields):
            raise BadInputError(
                source,
                f"expected {len(fields)} fields ({SEPARATOR.join(fields)}), found {len(parts)}",
                record=f"line {number}",
            )
        yield f"line {number}", parts


def _integer(value: str, source: object, record: str, field: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise BadInputError(
            source, f"expected a whole number, found '{value}'", record=record, field=field
        ) from None


def read_items(text: str, source: object) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Reads ``ItemID::Title::Kind|Kind`` lines (movies.dat, books.dat).

    Whole-numbered ids are kept. Where any id is another text (Amazon's), items are numbered by
    their order in the file instead; ``raw_id`` always says what the files call them.

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
    numbered = all(re.fullmatch(r"\d{1,18}", raw) for raw, _, _ in rows)
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
    for record, (item, title, names) in _dat_lines(text, source, ("ItemID", "Title", "Kinds")):
        raw = item.strip()
        if not raw:
            raise BadInputError(source, "the id is empty", record=record, field="ItemID")
        if raw in first_seen:
            raise BadInputError(
                source,
                f"the id {raw} was already used in {first_seen[raw]}",
                record=record,
                field="ItemID",
            )
        if not title.strip():
            raise BadInputError(source, "the title is empty", record=record, field="Title")
        first_seen[raw] = record
        yield raw, title.strip(), names


def read_users(text: str, source: object) -> list[dict[str, Any]]:
    """Reads ``UserID::Gender::Age::Occupation::Zip`` lines (users.dat).

    Raises:
        BadInputError: At a malformed line or an id that occurs twice.
    """
    rows, seen = [], set()
    fields = ("UserID", "Gender", "Age", "Occupation", "Zip-code")
    for record, (user, gender, age, occupation, _zip) in _dat_lines(text, source, fields):
        if user in seen:
            raise BadInputError(
                source, f"the id {user} occurs twice", record=record, field="UserID"
            )
        seen.add(user)
        rows.append(
            {
                "user_id": user,
                "gender": gender,
                "age": _integer(age, source, record, "Age"),
                "occupation": _integer(occupation, source, record, "Occupation"),
            }
        )
    return rows


def read_attributes(
    text: str, source: object, id_of_raw: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Reads an edge list ``item,relation,value`` with a header line (item_attributes.csv).

    Args:
        text: Content of the file.
        source: Its name, for errors.
        id_of_raw: Item ids by what the files call them.

    Raises:
        BadInputError: At a malformed line, an unknown item or an unknown relation.
    """
    lines = csv.reader(io.StringIO(text))
    header = next(lines, None)
    if header is None or len(header) != 3:
        raise BadInputError(
            source, "expected a header of three columns (item, relation, value)", record="line 1"
        )
    rows = []
    for parts in lines:
        record = f"line {lines.line_num}"
        if not parts:
            continue
        if len(parts) != 3:
            raise BadInputError(source, f"expected 3 fields, found {len(parts)}", record=record)
        item_id = id_of_raw.get(parts[0].strip())
        if item_id is None:
            raise BadInputError(
                source, f"item {parts[0]} is not in the items file", record=record, field=header[0]
            )
        relation = canonical_relation(parts[1], source=source, record=record)
        value = tidy(parts[2])
        if not value:
            raise BadInputError(source, "the value is empty", record=record, field=header[2])
        rows.append({"item_id": item_id, "relation": relation, "value": value})
    return rows


def read_json(text: str, source: object) -> Any:
    """Parses a JSON file.

    Raises:
        BadInputError: If it is not JSON, with the line and column, or holds what no text can.
    """
    try:
        parsed = json.loads(text)
        # Half a surrogate pair can be escaped in JSON, but not be written to any file.
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as exc:
        raise BadInputError(
            source, f"not valid JSON ({exc.msg})", record=f"line {exc.lineno}, column {exc.colno}"
        ) from None
    except (ValueError, RecursionError) as exc:
        raise BadInputError(source, f"JSON that cannot be read ({exc})") from None
    return parsed


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
        try:
            row = json.loads(line)
        except json.JSONDecodeError as exc:
            raise BadInputError(
                source, f"not JSON: {exc.msg}", record=f"line {number}, column {exc.colno}"
            ) from exc
        if not isinstance(row, dict):
            raise BadInputError(source, "expected a JSON object", record=f"line {number}")
        rows.append(row)
    if not rows:
        raise BadInputError(source, "there is no record in it")
    return rows
