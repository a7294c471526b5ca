"""What a pretrained base policy must not have been told: the pairs that queries ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable

import pandas as pd

from rerec_pipeline.recbench.tables import catalogue_from_table, read_attribute


def held_out_pairs(
    prompts: pd.DataFrame, queries: pd.DataFrame, items: pd.DataFrame, splits: Collection[str]
) -> set[tuple[Hashable, int]]:
    """The (need, right item) pairs of some splits, as the corpus of a base policy knows needs.

    Args:
        prompts: Table of prompts (query_id, split, truth_id, conditions, mentioned_ids).
        queries: Table of queries (query_id, group).
        items: Table of items.
        splits: Splits whose pairs are held out.

    Returns:
        (conditions as a frozenset, or ("group", name), or ("fans", title)) with an item id.
    """
    catalogue = catalogue_from_table(items)
    groups = dict(zip(queries["query_id"], queries["group"], strict=True))
    pairs: set[tuple[Hashable, int]] = set()
    for row in prompts[prompts["split"].isin(list(splits))].to_dict("records"):
        for key in _need_keys(
            row, groups[row["query_id"]], catalogue.titles, catalogue.index_of_id
        ):
            pairs.add((key, int(row["truth_id"])))
    return pairs


def _need_keys(
    row: dict, group: object, titles: list[str], index: dict[int, int]
) -> list[Hashable]:
    if len(row["conditions"]):
        return [frozenset(read_attribute(condition) for condition in row["conditions"])]
    if isinstance(group, str):
        return [("group", group)]
    return [("fans", titles[index[int(item)]]) for item in row["mentioned_ids"]]


def split_fingerprint(prompts: pd.DataFrame) -> str:
    """One hash of which query asks for what in which split; order does not matter."""
    rows = zip(prompts["query_id"], prompts["truth_id"], prompts["split"], strict=True)
    lines = sorted(f"{query} {truth} {split}" for query, truth, split in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
