"""Train, validation and test: split by query so that nothing of a test query is trained on.

Two queries that share a text, or a (need, right item) pair, always fall into the same split.
A need is what a query asks for: its conditions where the record states them, else the group it
speaks for, else the items it names, else its words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from rerec_pipeline.recbench.mentions import PhraseIndex, words
from rerec_pipeline.recbench.records import Query

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

Need = tuple[str, Hashable]


def mentioned_items(query: Query, titles: PhraseIndex) -> frozenset[int]:
    """Indices of the items that a query names in its text."""
    return frozenset(index for mention in titles.find(query.text) for index in mention.keys)


def need_of(query: Query, mentioned: Iterable[int]) -> Need:
    """What a query asks for, in a form that can be compared between queries.

    Args:
        query: The query.
        mentioned: Indices of the items its text names.
    """
    if query.conditions:
        return "conditions", frozenset(query.conditions)
    if query.group is not None:
        return "group", query.group
    named = frozenset(mentioned)
    return ("mentions", named) if named else ("text", words(query.text))


def stratum_of(query: Query) -> str:
    """Type and number of conditions: the strata that every split keeps in proportion."""
    return f"{query.query_type}/{query.n_conditions}"


def connected_queries(queries: Sequence[Query], needs: Sequence[Need]) -> list[list[int]]:
    """Groups queries that must stay together (shared text or shared (need, truth) pair).

    Whoever answers one query of a group rightly is likely to answer the others, so intervals and
    tests draw these groups, too, as clusters (``reporting/statistics.py``).

    Args:
        queries: All queries.
        needs: Their needs, in the same order.

    Returns:
        Positions of the queries, one list per group, in order of first appearance.
    """
    parent = list(range(len(queries)))

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    first: dict[Hashable, int] = {}
    for n, (query, need) in enumerate(zip(queries, needs, strict=True)):
        keys: list[Hashable] = [("text", words(query.text))]
        keys += [(need, truth) for truth in query.truth_ids]
        for key in keys:
            other = first.setdefault(key, n)
            parent[root(n)] = root(other)
    groups: dict[int, list[int]] = {}
    for n in range(len(queries)):
        groups.setdefault(root(n), []).append(n)
    return list(groups.values())


def split_queries(
    queries: Sequence[Query],
    groups: Sequence[Sequence[int]],
    shares: Mapping[str, float],
    seed: int,
) -> list[str]:
    """Assigns every query to a split, stratified by type and number of conditions.

    Groups of connected queries are dealt in a seeded order, large ones first, each to the split
    that lacks most of what the group holds; so proportions are kept as far as groups allow.

    Args:
        queries: All queries.
        groups: Positions of the queries that stay together (see ``connected_queries``).
        shares: Split -> share of the queries; the shares sum to 1.
        seed: Order of the groups.

    Returns:
        The split of each query, in order.
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    dealt = sorted((groups[i] for i in order), key=len, reverse=True)
    strata = [stratum_of(query) for query in queries]
    totals = Counter(strata)
    lacking = {split: {s: share * n for s, n in totals.items()} for split, share in shares.items()}
    assigned = [""] * len(queries)
    for group in dealt:
        counts = Counter(strata[n] for n in group)
        split = max(
            shares,
            key=lambda name: sum(
                n * lacking[name][s] / max(totals[s] * shares[name], 1e-9)
                for s, n in counts.items()
            ),
        )
        for s, n in counts.items():
            lacking[split][s] -= n
        for n in group:
            assigned[n] = split
    return assigned
