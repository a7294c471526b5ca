"""Features of the items of a pool, for a ranker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from rerec_pipeline.grounding.links import Links
from rerec_pipeline.grounding.signals import (
    BM25_WEIGHT,
    POPULARITY_WEIGHT,
    ROW_WEIGHTS,
    ROWS,
    SEEN_WEIGHT,
    TYPICAL_WEIGHT,
    Asked,
    FloatArray,
    IntArray,
    Signals,
)

#: Features of an item by itself.
PLAIN = (
    *ROWS, "bm25", "seen_with", "near_named", "near_history", "like_history", "typical",
    "typical_place", "popularity", "year", "from_year", "in_years", "first_stage",
)  # fmt: skip
#: Those of ``PLAIN`` that are also given relative to the rest of the pool.
RELATIVE = (
    "names_covered", "bm25", "seen_with", "near_named", "like_history", "typical", "popularity",
    "first_stage",
)  # fmt: skip
#: Features of the request, the same for all items of a pool.
OF_REQUEST = (
    "named_items", "said_names", "said_kinds", "said_of_user", "contradicted", "spoken_relations",
)  # fmt: skip
#: All features, in the order of the columns.
FEATURES = (
    *PLAIN,
    *(f"{name}_behind_best" for name in RELATIVE),
    *(f"{name}_rank" for name in RELATIVE),
    *OF_REQUEST,
)


def describe(signals: Signals, asked: Sequence[Asked], pools: Sequence[IntArray]) -> FloatArray:
    """Computes the features of the items of each request's pool.

    Args:
        signals: Computes signals of the items.
        asked: The Q requests; one that has several pools stands once for each of them.
        pools: Indices of items, an array for each request; P items in all.

    Returns:
        ``FEATURES``, float32 (P, F), one pool after the other.
    """
    sizes = np.array([len(pool) for pool in pools], dtype=np.int64)
    pool_of = np.repeat(np.arange(len(asked)), sizes)
    item = np.concatenate([np.empty(0, np.int64), *pools]).astype(np.int64)
    if not len(item):
        return np.empty((0, len(FEATURES)), dtype=np.float32)
    # A request with several pools in a row is looked up once.
    new = [n == 0 or request is not asked[n - 1] for n, request in enumerate(asked)]
    request_of = np.cumsum(new) - 1
    distinct = [request for request, first in zip(asked, new, strict=True) if first]
    plain = _plain(signals, distinct, request_of[pool_of], item)
    of_request = np.array([_of_request(a.links) for a in asked], dtype=np.float32)
    columns = [plain, *_relative(plain, pool_of, sizes), of_request[pool_of]]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _relative(
    plain: FloatArray, pool_of: IntArray, sizes: IntArray
) -> tuple[FloatArray, FloatArray]:
    """``RELATIVE`` of each item minus the best of its pool, and its rank in it, (P, features)."""
    starts = np.cumsum([0, *sizes])[:-1]
    filled = sizes > 0
    behind, ranks = [], []
    for name in RELATIVE:
        column = plain[:, PLAIN.index(name)]
        best = np.maximum.reduceat(column, starts[filled])
        behind.append(column - np.repeat(best, sizes[filled]))
        ranks.append(_ranks(column, pool_of, starts))
    return np.stack(behind, axis=1), np.stack(ranks, axis=1)


def _plain(signals: Signals, asked: Sequence[Asked], row: IntArray, item: IntArray) -> FloatArray:
    """``PLAIN`` of each item for the request with number ``row``, (P, features); rows ascend."""
    aspects, width = signals.aspects(asked), len(ROWS)
    columns = np.stack([_look_up(aspects, row * width + n, item) for n in range(width)])
    text, near, typical, years = _of_pools(signals, asked, row, item)
    seen = np.zeros(len(row), dtype=np.float32)
    if signals.examples is not None:
        seen = _look_up(signals.examples.scores(asked), row, item)
    popularity = signals.popularity[item]
    first = ROW_WEIGHTS @ columns + BM25_WEIGHT * text + SEEN_WEIGHT * seen
    first += POPULARITY_WEIGHT * popularity
    first += TYPICAL_WEIGHT * typical[0]
    year = signals.year[item]
    return np.stack([*columns, text, seen, *near, *typical, popularity, year, *years, first], 1)


def _of_pools(
    signals: Signals, asked: Sequence[Asked], row: IntArray, item: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Signals that need a pool: BM25 (P,), LightGCN's (3, P), of groups (2, P), years (2, P)."""
    text = np.zeros(len(row), dtype=np.float32)
    near = np.zeros((3, len(row)), dtype=np.float32)
    typical = np.zeros((2, len(row)), dtype=np.float32)
    years = np.zeros((2, len(row)), dtype=np.float32)
    ends = np.searchsorted(row, np.arange(len(asked) + 1))
    for n, request in enumerate(asked):
        at = slice(ends[n], ends[n + 1])
        pool = item[at]
        text[at] = signals.by_text(request)[pool]
        near[:, at] = signals.near(request, pool)
        years[:, at] = signals.by_year(request.links, pool)
        if signals.groups is not None:
            typical[0, at] = signals.groups.scores(request.links.profile)[pool]
            typical[1, at] = signals.groups.places(request.links.profile)[pool]
    return text, near, typical, years


def _of_request(links: Links) -> list[float]:
    """``OF_REQUEST`` of a request."""
    contradicted = sum(claim.status == "contradicted" for claim in links.claims)
    counts = (len(links.items), len(links.values), len(links.kinds), links.profile.said)
    return [*map(float, counts), float(contradicted), float(len(links.cues))]


def _look_up(matrix: sparse.csr_matrix, row: IntArray, column: IntArray) -> FloatArray:
    """The entries of a sparse matrix at some rows and columns, float32 (P,)."""
    if not matrix.nnz:
        return np.zeros(len(row), dtype=np.float32)
    matrix.sort_indices()
    width = matrix.shape[1]
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    keys = rows * width + matrix.indices
    wanted = row * width + column
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, matrix.data[place], 0).astype(np.float32)


def _ranks(values: FloatArray, pool_of: IntArray, starts: IntArray) -> FloatArray:
    """Rank of each value within its pool, from 0 for the largest; equal values share the first."""
    order = np.lexsort((-values, pool_of))
    ordered, pools = values[order], pool_of[order]
    new = np.ones(len(values), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]) | (pools[1:] != pools[:-1])
    first = np.maximum.accumulate(np.where(new, np.arange(len(values)), 0))
    result = np.empty(len(values), dtype=np.float32)
    result[order] = first - starts[pools]
    return result
