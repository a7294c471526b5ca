"""Next-item choices: the users that are asked, the candidates, and the place of the right one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def sample_users(eligible: Sequence[str], count: int, seed: int) -> list[str]:
    """Draws the users to ask.

    Args:
        eligible: Users that may be drawn.
        count: How many to draw; all are taken if there are no more.
        seed: Seed of the draw.

    Returns:
        The drawn users, in the order of ``eligible``.
    """
    if len(eligible) <= count:
        return list(eligible)
    chosen = np.random.default_rng(seed).choice(len(eligible), size=count, replace=False)
    return [eligible[n] for n in sorted(chosen)]


def draw_candidates(
    name: str, truth: int, seen: IntArray, pool: IntArray, negatives: int, seed: int
) -> IntArray:
    """Draws negatives and puts the right item among them, in random order.

    The draw depends on ``name`` and ``seed`` alone, not on the draws before it.

    Args:
        name: What the draw is for, e.g. the user and the split.
        truth: The held-out item.
        seen: All items that the user interacted with, ``truth`` included; none is a negative.
        pool: Items that may be negatives, distinct.
        negatives: Number of negatives.
        seed: Seed of the draw.

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
    """The place of the right candidate when candidates are ordered by score, highest first.

    Of equal scores, the candidate that is listed first comes first. The list is in random order,
    so a model that gives all candidates the same score is right as often as chance. NaN counts
    against the right candidate, so that a diverged model does not look perfect.

    Args:
        scores: Score of each candidate, float64 (N, C).
        right: Position of the right candidate, int64 (N,).

    Returns:
        Places from 1, int64 (N,).
    """
    own = np.take_along_axis(scores, right[:, None], axis=1)
    after = np.arange(scores.shape[1]) > right[:, None]
    behind = (scores < own) | ((scores == own) & after)
    return scores.shape[1] - behind.sum(axis=1)


def hits(places: IntArray, k: int) -> FloatArray:
    """Whether the right candidate is among the first k: 1 or 0, float64 (N,).

    Args:
        places: Places from 1; 0 where the right candidate is not listed, (N,).
        k: Length of the list that counts.
    """
    return ((places >= 1) & (places <= k)).astype(np.float64)


def ndcg(places: IntArray, k: int) -> FloatArray:
    r"""NDCG@k (Järvelin and Kekäläinen 2002) where one item is right.

    It is :math:`1 / \log_2(place + 1)` within the first k, otherwise 0: float64 (N,).

    Args:
        places: Places from 1; 0 where the right candidate is not listed, (N,).
        k: Length of the list that counts.
    """
    return hits(places, k) / np.log2(np.maximum(places, 1) + 1.0)
