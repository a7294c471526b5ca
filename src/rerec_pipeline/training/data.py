"""Training queries as a ``datasets.Dataset``, the form in which TRL takes them, and back."""

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
    }
)
REQUIRED = ("prompt", "truth", "candidates")


def examples_to_dataset(examples: Iterable[Example]) -> Dataset:
    """One row a query, with the columns of ``FEATURES``.

    Args:
        examples: The queries. ``prompt`` is the messages; an attribute that is asked for becomes
            ``relation: value``.
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
        }
        for example in examples
    ]
    return Dataset.from_list(rows, features=FEATURES)


def examples_from_dataset(dataset: Iterable[Mapping[str, Any]]) -> list[Example]:
    """The queries behind ``examples_to_dataset``.

    Args:
        dataset: Rows with at least ``prompt``, ``truth`` and ``candidates``.

    Raises:
        BadInputError: If a row lacks one of these.
    """
    return [example_from_row(row) for row in dataset]


def example_from_row(row: Mapping[str, Any]) -> Example:
    """The query of one row; what is not required may be missing."""
    if missing := [name for name in REQUIRED if name not in row]:
        raise BadInputError(
            "data set of queries",
            f"has no column {', '.join(missing)}",
            remedy="examples_to_dataset (rerec_pipeline.training) makes the columns of examples",
        )
    return Example(
        query_id=row.get("query_id", ""),
        query_type=row.get("query_type", ""),
        messages=row["prompt"],
        truth=row["truth"],
        candidates=tuple(row["candidates"]),
        conditions=tuple(read_attribute(text) for text in row.get("conditions", ())),
        mentioned=frozenset(row.get("mentioned", ())),
    )
