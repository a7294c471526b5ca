"""A user's own split and candidates, given as files and used as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.candidates import Choice
from rerec_pipeline.recbench.reading import csv_rows, read_json_lines
from rerec_pipeline.recbench.splits import SPLITS
from rerec_pipeline.recbench.titles import ItemIndex


def read_fixed_splits(text: str, source: object, known: Collection[str]) -> dict[str, str]:
    """Reads a split from CSV with the columns ``query_id`` and ``split``.

    Args:
        text: Content of the file.
        source: Its name, for errors.
        known: Ids of all queries.

    Returns:
        The split of each query that the file names; the others are not used.

    Raises:
        BadInputError: If a column is missing, a query is unknown or named twice, a split is none
            of train, validation and test, or one of them is empty.
    """
    lines = csv_rows(text, source)
    _, header = next(lines, ("", []))
    for column in ("query_id", "split"):
        if header.count(column) != 1:
            problem = "the column is named twice" if column in header else "the column is missing"
            raise BadInputError(source, problem, record="line 1", field=column)
    splits: dict[str, str] = {}
    for record, fields in lines:
        if len(fields) != len(header):
            problem = f"expected {len(header)} fields, found {len(fields)}"
            raise BadInputError(source, problem, record=record)
        row = dict(zip(header, fields, strict=True))
        query = row["query_id"]
        if query not in known:
            raise BadInputError(
                source, f"no query has the id '{query}'", record=record, field="query_id",
                remedy="Ids are <type>-<data_idx>, see the table of queries",
            )  # fmt: skip
        if query in splits:
            raise BadInputError(
                source, f"'{query}' is named twice", record=record, field="query_id"
            )
        if row["split"] not in SPLITS:
            raise BadInputError(
                source, f"'{row['split']}' is none of {', '.join(SPLITS)}", record=record,
                field="split",
            )  # fmt: skip
        splits[query] = row["split"]
    if missing := [split for split in SPLITS if split not in splits.values()]:
        raise BadInputError(source, f"no query is in {' or '.join(missing)}", field="split")
    return splits


def read_fixed_candidates(
    text: str, source: object, catalogue: ItemIndex, truths: Mapping[str, Collection[int]]
) -> dict[str, Choice]:
    """Reads candidates from JSON lines with ``query_id`` and ``candidates``, in prompt order.

    A candidate is given by its title, or by the id that the raw files have. The right one is
    ``truth`` where the line names it, else the only known right item among the candidates.

    Args:
        text: Content of the file.
        source: Its name, for errors.
        catalogue: The items.
        truths: Item indices that are right, for every query that needs candidates.

    Returns:
        The choice put for each query of ``truths``.

    Raises:
        BadInputError: If a line is malformed, names an unknown query or item, an item twice, or
            not exactly one right item; or if a query has no line.
    """
    choices: dict[str, Choice] = {}
    for number, row in enumerate(read_json_lines(text, source), start=1):
        query = row.get("query_id")
        name = f"record {number}"
        if not isinstance(query, str):
            raise BadInputError(source, "expected a text", record=name, field="query_id")
        if query not in truths:
            continue  # of a query that the split leaves out
        if query in choices:
            raise BadInputError(source, f"'{query}' is named twice", record=name, field="query_id")
        choices[query] = _choice(row, source, name, catalogue, truths[query])
    if missing := [query for query in truths if query not in choices]:
        raise BadInputError(
            source, f"{len(missing)} queries have no candidates", record=missing[0],
            remedy="Give them candidates, or leave them out by fixed.splits",
        )  # fmt: skip
    return choices


def _choice(
    row: Mapping[str, Any], source: object, name: str, catalogue: ItemIndex, right: Collection[int]
) -> Choice:
    listed = row.get("candidates")
    if not isinstance(listed, list) or len(listed) < 2:
        raise BadInputError(
            source, "expected a list of two or more items", record=name, field="candidates"
        )
    candidates = tuple(_item(c, source, name, "candidates", catalogue) for c in listed)
    if len(set(candidates)) < len(candidates):
        raise BadInputError(source, "an item is listed twice", record=name, field="candidates")
    if row.get("truth") is not None:
        found = [_item(row["truth"], source, name, "truth", catalogue)]
    else:
        found = [c for c in candidates if c in right]
    if len(found) != 1 or found[0] not in candidates or found[0] not in right:
        raise BadInputError(
            source, "exactly one candidate must be a right item of the query", record=name,
            field="candidates", remedy="Name it in 'truth' where several are right",
        )  # fmt: skip
    return Choice(found[0], candidates)


def _item(value: object, source: object, name: str, key: str, catalogue: ItemIndex) -> int:
    if type(value) in (int, str):
        if str(value) in catalogue.id_of_raw:
            return catalogue.index_of_id[catalogue.id_of_raw[str(value)]]
        index = catalogue.resolve(str(value))
        if index is not None:
            return index
    raise BadInputError(source, f"{value!r} is no item of the catalogue", record=name, field=key)
