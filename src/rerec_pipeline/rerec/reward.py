r"""Dual-graph enhanced reward shaping (ReRec, section "Dual-Graph Enhanced Reward Shaping").

.. math:: r = \mathrm{NDCG@}K + w_1 \, \mathrm{QAS} + w_2 \, \mathrm{PAS}
              + w_{format} \, \mathrm{format}

Answers reach this module as item indices: ``ranked`` is an int64 array (N, R), best first, with
-1 for a place that holds no known item. Nothing is looked up by name here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

#: Rows worked on at once, so that memory stays bounded whatever the batch.
_CHUNK = 4096


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
        top = ranked[rows, :k]
        asked = _shared_attributes(bits, truths[rows])
        n_asked = np.bitwise_count(asked).sum(axis=1)
        common = np.bitwise_count(bits[top] & asked[:, None, :]).sum(axis=2)
        common = np.where(top >= 0, common, 0)
        scores[rows] = common.sum(axis=1) / (k * np.maximum(n_asked, 1))
    return scores


def _shared_attributes(bits: NDArray[np.uint64], truths: IntArray) -> NDArray[np.uint64]:
    """What all right items of a row share; a padding place takes nothing away."""
    everything = np.uint64(0xFFFFFFFFFFFFFFFF)
    per_truth = np.where((truths >= 0)[:, :, None], bits[truths], everything)
    return np.bitwise_and.reduce(per_truth, axis=1)


def pas(embeddings: FloatArray, ranked: IntArray, truths: IntArray, k: int) -> FloatArray:
    r"""Preference Alignment Score: closeness in the interaction graph (paper).

    .. math:: \mathrm{PAS}(p, gt) = \cos(e_p, e_{gt})

    with LightGCN item embeddings. An unknown item scores 0; several right items and several
    places are averaged (decisions of this project).

    Args:
        embeddings: Item embeddings of unit length, float (I, D); see ``unit_rows``.
        ranked: Answered items (N, R), -1 for none.
        truths: Right items (N, M), padded with -1.
        k: Places that count.

    Returns:
        float64 (N,), each in [-1, 1].
    """
    top = ranked[:, :k]
    known_truths = (truths >= 0)[:, :, None]
    target = np.where(known_truths, embeddings[truths], 0.0).sum(axis=1) / known_truths.sum(axis=1)
    answered = np.where((top >= 0)[:, :, None], embeddings[top], 0.0).sum(axis=1) / k
    return np.einsum("nd,nd->n", answered, target, dtype=np.float64)


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
    """

    ranked: IntArray
    truths: IntArray
    boxed: NDArray[np.bool_]


@dataclass(frozen=True)
class RewardContext:
    """What the terms know: the two graphs and the constants of the reward.

    Attributes:
        bits: Attribute bits of all items, uint64 (I, W), see ``AttributeGraph``.
        embeddings: LightGCN item embeddings of unit length, float64 (I, D), see ``unit_rows``.
        k: Ranks that count (``K`` of the paper).
        no_box_ndcg: What stands in for NDCG where nothing is boxed (official: -0.5).
    """

    bits: NDArray[np.uint64]
    embeddings: FloatArray
    k: int
    no_box_ndcg: float


Term = Callable[[RewardContext, RewardBatch], FloatArray]

#: The terms a reward can be made of. A new one is a function here and a weight in ``conf``.
TERMS: dict[str, Term] = {
    "ndcg": lambda c, b: np.where(b.boxed, ndcg_at_k(b.ranked, b.truths, c.k), c.no_box_ndcg),
    "qas": lambda c, b: qas(c.bits, b.ranked, b.truths, c.k),
    "pas": lambda c, b: pas(c.embeddings, b.ranked, b.truths, c.k),
    "format": lambda c, b: format_term(b.boxed),
}


@dataclass(frozen=True)
class ScoredBatch:
    """Rewards with the terms they are made of.

    Attributes:
        terms: name -> unweighted values, float64 (N,).
        total: Weighted sum, float64 (N,).
    """

    terms: dict[str, FloatArray]
    total: FloatArray


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
            The total and its terms.
        """
        values = {name: TERMS[name](self.context, batch) for name in self.weights}
        total = np.zeros(len(batch.ranked))
        for name, value in values.items():
            total = total + self.weights[name] * value
        return ScoredBatch(values, total)
