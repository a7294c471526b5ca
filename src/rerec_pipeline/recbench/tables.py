"""Queries and examples as tables, and back: the form in which the catalog keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import Attribute, AttributeGraph
from rerec_pipeline.recbench.candidates import Choice
from rerec_pipeline.recbench.records import Fact, Query
from rerec_pipeline.recbench.task import Example, Messages
from rerec_pipeline.recbench.titles import ItemIndex

QUERY_COLUMNS = (
    "query_id", "query_type", "text", "truth_ids", "conditions", "multihop", "claims", "user_id",
    "group", "label_complete", "history", "condition_num",
)  # fmt: skip


def write_attribute(attribute: Attribute) -> str:
    """An attribute as one readable text: ``Starring: Zoë Kovács``."""
    return f"{attribute[0]}: {attribute[1]}"


def read_attribute(text: str) -> Attribute:
    """The attribute behind ``write_attribute``; a relation's name holds no colon."""
    relation, _, value = text.partition(": ")
    return relation, value


def queries_to_table(queries: Iterable[Query]) -> pd.DataFrame:
    """One row a query; lists stay lists, facts become records."""
    rows = []
    for query in queries:
        row = asdict(query)
        row["truth_ids"], row["history"] = list(query.truth_ids), list(query.history)
        row["conditions"] = [write_attribute(c) for c in query.conditions]
        row["multihop"], row["claims"] = list(row["multihop"]), list(row["claims"])
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(QUERY_COLUMNS))
    return table.astype({"user_id": "str", "group": "str", "condition_num": "Int64"})


def queries_from_table(table: pd.DataFrame) -> list[Query]:
    """The queries behind ``queries_to_table``."""
    return [
        Query(
            query_id=row["query_id"],
            query_type=row["query_type"],
            text=row["text"],
            truth_ids=tuple(int(i) for i in row["truth_ids"]),
            conditions=tuple(read_attribute(c) for c in row["conditions"]),
            multihop=tuple(Fact(**fact) for fact in row["multihop"]),
            claims=tuple(Fact(**fact) for fact in row["claims"]),
            user_id=_text_or_none(row["user_id"]),
            group=_text_or_none(row["group"]),
            label_complete=bool(row["label_complete"]),
            history=tuple(int(i) for i in row["history"]),
            condition_num=None if pd.isna(row["condition_num"]) else int(row["condition_num"]),
        )
        for row in table.to_dict("records")
    ]


def _text_or_none(value: Any) -> str | None:
    return None if value is None or pd.isna(value) else str(value)


def catalogue_from_table(items: pd.DataFrame) -> ItemIndex:
    """The catalogue of a table of items (item_id, raw_id, title)."""
    columns = (items[name].tolist() for name in ("item_id", "title", "raw_id"))
    return ItemIndex(*columns)


def graph_from_table(edges: pd.DataFrame, catalogue: ItemIndex) -> AttributeGraph:
    """The attribute graph of a table of edges (item_id, relation, value)."""
    indices = edges["item_id"].map(catalogue.index_of_id)
    return AttributeGraph(
        len(catalogue), zip(indices, edges["relation"], edges["value"], strict=True)
    )


def item_values(table: pd.DataFrame, source: object, catalogue: ItemIndex) -> NDArray[np.float64]:
    """Numbers that a user gives about the items, in the order of the catalogue.

    Args:
        table: A row for each item: its id, as the data set's own files have it, then numbers.
        source: The file, for errors.
        catalogue: All items.

    Returns:
        float64 (I,), or (I, C) where the table has C > 1 columns of numbers.

    Raises:
        BadInputError: If an item is missing or occurs twice, or something is no number.
    """
    key = table.columns[0]
    named = table.set_index(table[key].astype("str")).drop(columns=key)
    if (twice := named.index[named.index.duplicated()]).size:
        raise BadInputError(source, f"item {twice[0]} occurs twice", field=str(key))
    if missing := [raw for raw in catalogue.id_of_raw if raw not in named.index]:
        raise BadInputError(source, f"has no row for item {missing[0]}", field=str(key))
    values = named.loc[list(catalogue.id_of_raw)].apply(pd.to_numeric, errors="coerce")
    values = values.to_numpy("float64")
    if not np.isfinite(values).all() or not values.shape[1]:
        raise BadInputError(source, "needs a finite number for every item, in each other column")
    return values[:, 0] if values.shape[1] == 1 else values


def prompt_rows(
    queries: Sequence[Query],
    splits: Sequence[str],
    clusters: Sequence[int],
    choices: Sequence[Choice],
    mentioned: Sequence[frozenset[int]],
    messages: Sequence[list[dict[str, str]]],
    catalogue: ItemIndex,
) -> pd.DataFrame:
    """One row for each prompt, with everything training and evaluation need."""
    ids = catalogue.item_ids
    rows = [
        {
            "query_id": query.query_id,
            "query_type": query.query_type,
            "n_conditions": query.n_conditions,
            "split": split,
            "cluster": cluster,
            "system": prompt[0]["content"],
            "user": prompt[1]["content"],
            "text": query.text,
            "truth_id": ids[choice.truth],
            "truth": catalogue.titles[choice.truth],
            "candidate_ids": [ids[c] for c in choice.candidates],
            "conditions": [write_attribute(c) for c in query.conditions],
            "mentioned_ids": sorted(ids[m] for m in names),
        }
        for query, split, cluster, choice, names, prompt in zip(
            queries, splits, clusters, choices, mentioned, messages, strict=True
        )
    ]
    return pd.DataFrame(rows)


def lists_right_item(prompts: pd.DataFrame) -> pd.Series:
    """Whether the right item is among the candidates of each row, bool."""
    pairs = zip(prompts["truth_id"], prompts["candidate_ids"], strict=True)
    found = [truth in listed for truth, listed in pairs]
    return pd.Series(found, index=prompts.index, dtype=bool)


def messages_of(row: Mapping[Any, Any]) -> Messages:
    """The chat messages of one row of a table of prompts."""
    return [{"role": role, "content": row[role]} for role in ("system", "user")]


def examples_from_table(prompts: pd.DataFrame, catalogue: ItemIndex) -> list[Example]:
    """The examples behind a table of prompts."""
    index = catalogue.index_of_id
    return [
        Example(
            query_id=row["query_id"],
            query_type=row["query_type"],
            messages=messages_of(row),
            truth=index[row["truth_id"]],
            candidates=tuple(index[int(c)] for c in row["candidate_ids"]),
            conditions=tuple(read_attribute(c) for c in row["conditions"]),
            mentioned=frozenset(index[int(m)] for m in row["mentioned_ids"]),
        )
        for row in prompts.to_dict("records")
    ]
