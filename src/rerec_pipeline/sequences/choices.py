"""The next item among a few: who is asked, what the candidates are, and how they are ranked."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def sample_users(eligible: Sequence[str], count: int, seed: int) -> list[str]:
    """Draws users to ask, all if there are no more; in the order they are given."""
    if len(eligible) <= count:
        return list(eligible)
    chosen = np.random.default_rng(seed).choice(len(eligible), size=count, replace=False)
    return [eligible[n] for n in sorted(chosen)]


def draw_candidates(
    name: str, truth: int, seen: IntArray, pool: IntArray, negatives: int, seed: int
) -> IntArray:
    """One right item among negatives, in a seeded order; another user's draw changes nothing.

    Args:
        name: What the draw is for, e.g. the user and the split.
        truth: The held-out item.
        seen: Everything that the user ever interacted with; no negative is among it.
        pool: Items that may be negatives, distinct.
        negatives: How many.
        seed: Of the draw.

    Returns:
        Candidates, int64 (negatives + 1,).

    Raises:
        ValueError: If too few items are left.
    """
    free = pool[~np.isin(pool, seen)]
    if len(free) < negatives:
        raise ValueError(f"only {len(free)} items can be negatives, {negatives} are needed")
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    drawn = rng.choice(free, size=negatives, replace=False)
    return rng.permutation(np.append(drawn, truth))


def ranks(scores: FloatArray, right: IntArray) -> IntArray:
    """The place of the right candidate when candidates are ordered by score.

    Of equal scores the one that is listed first comes first; as the list is in random order, a
    model that scores all alike is right as often as chance.

    Args:
        scores: Of each candidate, (N, C).
        right: Position of the right one, int64 (N,).

    Returns:
        Places from 1, int64 (N,).
    """
    own = np.take_along_axis(scores, right[:, None], axis=1)
    before = np.arange(scores.shape[1]) < right[:, None]
    return 1 + ((scores > own) | ((scores == own) & before)).sum(axis=1)


def hits(places: IntArray, k: int) -> FloatArray:
    """Whether the right candidate is among the first k, (N,); place 0 means it is not listed."""
    return ((places >= 1) & (places <= k)).astype(np.float64)


def ndcg(places: IntArray, k: int) -> FloatArray:
    r"""NDCG@k with one right item: :math:`1 / \log_2(place + 1)` within the first k, else 0."""
    return hits(places, k) / np.log2(np.maximum(places, 1) + 1.0)
