r"""Dual-graph enhanced reward shaping (ReRec, section "Dual-Graph Enhanced Reward Shaping").

.. math:: r = \mathrm{NDCG@}K + w_1 \, \mathrm{QAS} + w_2 \, \mathrm{PAS}
              + w_{format} \, \mathrm{format}

Answers reach this module as item indices: ``ranked`` is an int64 array (N, R), best first, with
-1 for a place that holds no known item. Nothing is looked up by name here.

A term is a function in the registry ``TERMS``; a new one needs no more than

.. code-block:: python

    @term("novelty")
    def novelty(context: RewardContext, batch: RewardBatch) -> FloatArray:
        popularity = context.array("popularity")  # rft.reward.data: {popularity: FILE}
        return np.where(batch.ranked[:, 0] >= 0, -popularity[batch.ranked[:, 0]], 0.0)

and a weight under ``rft.reward.weights``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.errors import BadParameterError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

#: Rows worked on at once: few enough that what they touch stays in a core's cache.
_CHUNK = 256


def ndcg_at_k(ranked: IntArray, truths: IntArray, k: int) -> FloatArray:
    r"""NDCG@K of ranked answers (paper, first reward term).

    .. math:: \mathrm{NDCG@}K = \frac{\sum_{j \le K} [p_j \in gt] / \log_2(j + 1)}
                                     {\sum_{j \le \min(|gt|, K)} 1 / \log_2(j + 1)}

    Args:
        ranked: Answered items (N, R), best first; -1 where a place holds no known item. An item
            must not be repeated within a row.
        truths: Right items (N, M), padded with -1; at least one a row.
        k: Ranks that count, at least 1.

    Returns:
        float64 (N,), each in [0, 1].

    Raises:
        ValueError: If ``k`` < 1 or a row has no right item.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    top = ranked[:, :k]
    n_truths = (truths >= 0).sum(axis=1)
    if (n_truths == 0).any():
        raise ValueError("every row needs at least one right item")
    gains = 1.0 / np.log2(np.arange(k) + 2.0)
    hits = ((top[:, :, None] == truths[:, None, :]) & (top[:, :, None] >= 0)).any(axis=2)
    ideal = np.cumsum(gains)[np.minimum(n_truths, k) - 1]
    return (hits * gains[: top.shape[1]]).sum(axis=1) / ideal


def qas(bits: NDArray[np.uint64], ranked: IntArray, truths: IntArray, k: int) -> FloatArray:
    r"""Query Alignment Score: attributes of the right item that the answer shares (paper).

    .. math:: \mathrm{QAS}(p, gt) = \frac{|A(p) \cap A(gt)|}{|A(gt)|}

    Attributes are typed. With several right items, :math:`A(gt)` is what they all share; with
    ``k`` > 1 the score is the mean over the first ``k`` places, an empty or unknown place
    counting 0 (both are decisions of this project). Where :math:`A(gt)` is empty, the graph says
    nothing about the query and the score is 0.

    Args:
        bits: Attribute bits of all items, uint64 (I, W), see ``AttributeGraph``.
        ranked: Answered items (N, R), -1 for none.
        truths: Right items (N, M), padded with -1.
        k: Places that count.

    Returns:
        float64 (N,), each in [0, 1].
    """
    scores = np.zeros(len(ranked))
    for start in range(0, len(ranked), _CHUNK):
        rows = slice(start, start + _CHUNK)
        scores[rows] = _common_attributes(bits, ranked[rows, :k], truths[rows])
    return scores / k


def _common_attributes(bits: NDArray[np.uint64], top: IntArray, truths: IntArray) -> FloatArray:
    """Sum over the places of a row: share of what is asked for that the item there has."""
    asked = _shared_attributes(bits, truths)
    # An item has a few of thousands of attributes: look only where something is asked for.
    row, word = np.divmod(np.flatnonzero(asked != 0), max(asked.shape[1], 1))
    wanted = asked[row, word]
    n_asked = np.bincount(row, np.bitwise_count(wanted), minlength=len(top))
    items = top[row]
    has = np.bitwise_count(bits[items, word[:, None]] & wanted[:, None])
    common = np.einsum("wk->w", has * (items >= 0), dtype=np.int64)
    return np.bincount(row, common, minlength=len(top)) / np.maximum(n_asked, 1)


def _shared_attributes(bits: NDArray[np.uint64], truths: IntArray) -> NDArray[np.uint64]:
    """What all right items of a row share; a padding place takes nothing away."""
    shared = bits[truths.max(axis=1)]
    for place in truths.T if truths.shape[1] > 1 else ():
        known = place >= 0
        shared[known] &= bits[place[known]]
    return shared


def pas(
    embeddings: FloatArray,
    ranked: IntArray,
    truths: IntArray,
    k: int,
    listed: IntArray | None = None,
) -> FloatArray:
    r"""Preference Alignment Score: closeness in the interaction graph (paper).

    .. math:: \mathrm{PAS}(p, gt) = \cos(e_p, e_{gt})

    with LightGCN item embeddings. An unknown item scores 0 (paper), or what the worst item of the
    list scores where that is less: else an answer off the list would be rewarded more than one on
    it. Several right items and several places are averaged (decisions of this project).

    Args:
        embeddings: Item embeddings of unit length, float (I, D); see ``unit_rows``.
        ranked: Answered items (N, R), -1 for none.
        truths: Right items (N, M), padded with -1.
        k: Places that count.
        listed: Items that could be chosen (N, C), padded with -1; None where that is not known.

    Returns:
        float64 (N,), each in [-1, 1].
    """
    scores = np.zeros(len(ranked))
    for start in range(0, len(ranked), _CHUNK):
        rows = slice(start, start + _CHUNK)
        some = None if listed is None else listed[rows]
        scores[rows] = _closeness(embeddings, ranked[rows, :k], truths[rows], k, some)
    return scores / k


def _closeness(
    embeddings: FloatArray, top: IntArray, truths: IntArray, k: int, listed: IntArray | None
) -> FloatArray:
    """Sum over the k places of a row: cosine of the item there and the right items."""
    target = _sum_of_rows(embeddings, truths) / (truths >= 0).sum(axis=1)[:, None]
    scores = np.einsum("nd,nd->n", _sum_of_rows(embeddings, top), target, dtype=np.float64)
    if listed is not None:
        unknown = k - (top >= 0).sum(axis=1)
        rows = np.flatnonzero(unknown)
        scores[rows] += unknown[rows] * _worst(embeddings, listed[rows], target[rows])
    return scores


def _worst(embeddings: FloatArray, listed: IntArray, target: FloatArray) -> FloatArray:
    """The lowest score of a row's listed items (N, C), at most 0."""
    scores = np.einsum("ncd,nd->nc", embeddings[listed], target, dtype=np.float64)
    return np.where(listed >= 0, scores, 0.0).min(axis=1, initial=0.0)


def _sum_of_rows(embeddings: FloatArray, items: IntArray) -> FloatArray:
    """Sum of the embeddings of a row's items, -1 counting nothing: (N, R) -> (N, D)."""
    counts = (items >= 0).astype(embeddings.dtype)[:, None]
    return (counts @ embeddings[items])[:, 0]


def unit_rows(embeddings: FloatArray) -> FloatArray:
    """Scales rows to unit length; a zero row stays zero."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.where(norms > 0, norms, 1.0)


def format_term(boxed: NDArray[np.bool_]) -> FloatArray:
    """+0.5 for a completion that boxes an answer, -0.5 for one that does not (official)."""
    return np.where(boxed, 0.5, -0.5)


@dataclass(frozen=True)
class RewardBatch:
    """What a reward term may look at.

    Attributes:
        ranked: Answered items (N, R), best first, -1 for none.
        truths: Right items (N, M), padded with -1.
        boxed: Whether the completion boxes an answer, (N,).
        listed: Items that could be chosen (N, C), padded with -1; None where that is not known.
    """

    ranked: IntArray
    truths: IntArray
    boxed: NDArray[np.bool_]
    listed: IntArray | None = None


@dataclass(frozen=True)
class RewardData:
    """What the terms know about the items: the two graphs, and whatever else a term needs.

    Attributes:
        bits: Attribute bits of all items, uint64 (I, W), see ``AttributeGraph``.
        embeddings: LightGCN item embeddings of unit length, float64 (I, D), see ``unit_rows``.
        extra: Further arrays by name, the first axis being the items: (I, ...).
    """

    bits: NDArray[np.uint64]
    embeddings: FloatArray
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict, kw_only=True)

    def array(self, name: str) -> NDArray[Any]:
        """A further array.

        Raises:
            BadParameterError: If there is none of that name.
        """
        if name not in self.extra:
            raise BadParameterError(
                f"a reward term needs '{name}': name its file in rft.reward.data, e.g. "
                f"--params rft.reward.data.{name}=FILE (outside Kedro: RewardData(extra=...))"
            )
        return self.extra[name]


@dataclass(frozen=True)
class RewardContext(RewardData):
    """The data with the constants of the reward.

    Attributes:
        k: Ranks that count (``K`` of the paper).
        no_box_ndcg: Value of the NDCG term where nothing is boxed (official: -0.5).
    """

    k: int
    no_box_ndcg: float


Term = Callable[[RewardContext, RewardBatch], FloatArray]

#: The terms a reward can be made of.
TERMS: dict[str, Term] = {
    "ndcg": lambda c, b: np.where(b.boxed, ndcg_at_k(b.ranked, b.truths, c.k), c.no_box_ndcg),
    "qas": lambda c, b: qas(c.bits, b.ranked, b.truths, c.k),
    "pas": lambda c, b: pas(c.embeddings, b.ranked, b.truths, c.k, b.listed),
    "format": lambda c, b: format_term(b.boxed),
}


def term(name: str) -> Callable[[Term], Term]:
    """Registers a function of (context, batch) -> float64 (N,) as a reward term.

    Args:
        name: What ``rft.reward.weights`` is to call it.

    Raises:
        ValueError: If the name is taken.
    """

    def register(function: Term) -> Term:
        if name in TERMS:
            raise ValueError(f"there is a reward term '{name}' already")
        TERMS[name] = function
        return function

    return register


@dataclass(frozen=True)
class ScoredBatch:
    """Rewards with the terms they are made of.

    Attributes:
        terms: name -> unweighted values, float64 (N,).
        weights: name -> weight.
    """

    terms: dict[str, FloatArray]
    weights: dict[str, float]

    @property
    def total(self) -> FloatArray:
        """Weighted sum, float64 (N,)."""
        total: FloatArray = np.zeros(len(next(iter(self.terms.values()))))
        for name, value in self.terms.items():
            total = total + self.weights[name] * value
        return total


class Reward:
    """A weighted sum of named terms.

    Args:
        context: The graphs and constants.
        weights: Term -> weight. A weight of 0 keeps the term as a measure.

    Raises:
        ValueError: If a weight names no term, or there is no weight at all.
    """

    def __init__(self, context: RewardContext, weights: Mapping[str, float]):
        unknown = sorted(set(weights) - set(TERMS))
        if unknown or not weights:
            raise ValueError(f"unknown reward terms {unknown}; there are {sorted(TERMS)}")
        self.context = context
        self.weights = dict(weights)

    def __call__(self, batch: RewardBatch) -> ScoredBatch:
        """Scores a batch of answers.

        Args:
            batch: The answers of N completions.

        Returns:
            The terms and their total.
        """
        values = {name: TERMS[name](self.context, batch) for name in self.weights}
        return ScoredBatch(values, self.weights)
