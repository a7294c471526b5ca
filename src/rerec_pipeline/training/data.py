"""Converts queries to a ``datasets.Dataset``, which TRL's trainers take, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from datasets import Dataset, Features, List, Value

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.tables import read_attribute, write_attribute
from rerec_pipeline.recbench.task import Example

#: The columns of a data set of queries. Items are indices into the task's catalogue.
FEATURES = Features(
    {
        "prompt": List({"role": Value("string"), "content": Value("string")}),
        "query_id": Value("string"),
        "query_type": Value("string"),
        "truth": Value("int64"),
        "candidates": List(Value("int64")),
        "conditions": List(Value("string")),
        "mentioned": List(Value("int64")),
        "form": Value("string"),
    }
)
#: The columns that a data set must have.
REQUIRED = ("prompt", "truth", "candidates")


def examples_to_dataset(examples: Iterable[Example]) -> Dataset:
    """Makes a data set of queries.

    Args:
        examples: The queries.

    Returns:
        One row for each query, with the columns of ``FEATURES``. ``prompt`` holds the messages;
        each of the ``conditions`` is written as ``relation: value``.
    """
    rows = [
        {
            "prompt": example.messages,
            "query_id": example.query_id,
            "query_type": example.query_type,
            "truth": example.truth,
            "candidates": list(example.candidates),
            "conditions": [write_attribute(condition) for condition in example.conditions],
            "mentioned": sorted(example.mentioned),
            "form": example.form,
        }
        for example in examples
    ]
    return Dataset.from_list(rows, features=FEATURES)


def examples_from_dataset(dataset: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Reads queries from a data set: the inverse of ``examples_to_dataset``.

    Args:
        dataset: Rows with at least the columns ``REQUIRED``.

    Raises:
        BadInputError: If a row lacks one of these.
    """
    return [example_from_row(row) for row in dataset]


def example_from_row(row: Mapping[str, Any]) -> Example:
    """Reads the query of one row.

    Args:
        row: The columns ``REQUIRED``. The others of ``FEATURES`` may be missing, or None as
            ``datasets`` fills in where only some rows have a column.

    Raises:
        BadInputError: If a required column is missing.
    """
    if missing := [name for name in REQUIRED if name not in row]:
        raise BadInputError(
            "data set of queries",
            f"has no column {', '.join(missing)}",
            remedy="examples_to_dataset (rerec_pipeline.training) makes the columns of examples",
        )
    return Example(
        query_id=row.get("query_id") or "",
        query_type=row.get("query_type") or "",
        messages=row["prompt"],
        truth=row["truth"],
        candidates=tuple(row["candidates"]),
        conditions=tuple(read_attribute(text) for text in row.get("conditions") or ()),
        mentioned=frozenset(row.get("mentioned") or ()),
        form=row.get("form"),
    )
