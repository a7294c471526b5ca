"""Finds and ranks items for requests, in two stages.

The first stage adds up the signals of the graph, the text, popularity, groups of users and similar
requests with weights that are not fitted, and keeps a pool of the best items. In the second, a
ranker that was fitted on the training split orders the pool by features of its items. A choice
among given candidates is the second stage alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.grounding.evidence import Reason, explain
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.features import FEATURES, describe
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.links import Links
from rerec_pipeline.grounding.profiles import Groups
from rerec_pipeline.grounding.signals import Asked, Examples, FloatArray, IntArray, Signals

#: Most scores of the first stage (requests x items) in memory at once: 64 MB of float32.
_SCORES_AT_ONCE = 16_000_000


class Ranker(Protocol):
    """Scores items by their features."""

    def predict(self, features: FloatArray) -> NDArray[np.float64]:
        """Scores (P,) of items with features float32 (P, F); higher is better."""
        ...


class Retriever:
    """Finds and ranks items for requests.

    Args:
        linker: Links requests to the catalogue and its facts.
        popularity: Interactions of each item, (I,).
        embeddings: LightGCN's embeddings of the items, (I, D); None where there are none.
        groups: Interactions by groups of users; None where there are no profiles.
        examples: Answered requests of the training split; None if there are none.
        ranker: Orders a pool by features; None leaves the order of the first stage.
        pool: Number of items that the first stage keeps.
    """

    def __init__(
        self,
        linker: Linker,
        popularity: NDArray[np.float64],
        embeddings: FloatArray | None = None,
        groups: Groups | None = None,
        examples: Examples | None = None,
        ranker: Ranker | None = None,
        pool: int = 200,
    ):
        self.linker = linker
        self.facts: Facts = linker.facts
        self.groups = groups
        self.ranker = ranker
        self.n_items = len(linker.catalogue.titles)
        self.pool = min(pool, self.n_items)
        self.popularity = np.asarray(popularity, dtype=np.float32)
        self._signals = Signals(linker, popularity, embeddings, groups, examples)

    # -- one request -----------------------------------------------------------------------

    def ask(self, text: str, history: Sequence[int] = ()) -> Asked:
        """Links a request, as the other methods take it.

        Args:
            text: What the user says.
            history: Indices of items that the user is known to like.
        """
        return Asked(self.linker.link(text), tuple(history))

    def scores(self, request: Asked) -> NDArray[np.float64]:
        """Scores of all items, float64 (I,); items that the request names get minus infinity.

        Items outside the pool come behind it, in the order of the first stage.
        """
        first = self._signals.first_stage([request])[0]
        scores = np.full(self.n_items, -np.inf)
        (pool,) = self._pools(first[None], [request])
        rest = np.setdiff1d(np.flatnonzero(np.isfinite(first)), pool)
        ranked = self.rank([request], [pool])[0] if len(pool) else np.empty(0)
        scores[pool] = ranked
        # Shifted so that the best of the rest is one below the worst of the pool, or lower.
        scores[rest] = ranked.min(initial=0) - 1 - first[rest].max(initial=0) + first[rest]
        return scores

    def top(self, request: Asked, k: int, exclude: Sequence[int] = ()) -> list[int]:
        """The k best items, best first, without those that the request names and ``exclude``."""
        excluded = set(exclude)
        (found,) = self.retrieve([request], k + len(excluded))
        return [item for item in found.tolist() if item not in excluded][:k]

    def choose(self, request: Asked, candidates: Sequence[int]) -> int:
        """The best of some candidates (item indices); of equals, the one listed first."""
        return self.choices([request], [candidates])[0]

    def explain(self, links: Links, item: int) -> list[Reason]:
        """The facts of an item that touch a request, with reasons (see ``evidence.explain``)."""
        return explain(links, item, self.facts)

    # -- many requests ---------------------------------------------------------------------

    def choices(self, asked: Sequence[Asked], candidates: Sequence[Sequence[int]]) -> list[int]:
        """The best candidate of each request; of equals, the one listed first."""
        pools = [np.asarray(listed, dtype=np.int64) for listed in candidates]
        ranked = self.rank(asked, pools)
        return [int(pool[np.argmax(s)]) for pool, s in zip(pools, ranked, strict=True)]

    def retrieve(self, asked: Sequence[Asked], k: int) -> list[IntArray]:
        """At most k best items for each request, best first, without those that it names."""
        found = []
        for part in self._parts(asked):
            first = self._signals.first_stage(part)
            pools = self._pools(first, part)
            for row, pool, scores in zip(first, pools, self.rank(part, pools), strict=True):
                ordered = pool[np.lexsort((pool, -scores))]
                found.append(self._fill(ordered, row, k)[:k])
        return found

    def rank(self, asked: Sequence[Asked], pools: Sequence[IntArray]) -> list[NDArray[np.float64]]:
        """Scores of the items in each request's pool, float64 of the pool's length.

        Args:
            asked: The requests.
            pools: Indices of items, an array for each request.
        """
        ranked: list[NDArray[np.float64]] = []
        at = 0
        for part in self._parts(asked):
            some = pools[at : at + len(part)]
            at += len(part)
            features = self.features(part, some)
            if self.ranker is None:
                scores = features[:, FEATURES.index("first_stage")].astype(np.float64)
            else:
                scores = self.ranker.predict(features)
            ranked += np.split(scores, np.cumsum([len(pool) for pool in some])[:-1])
        return ranked

    def ranked_pools(self, asked: Sequence[Asked]) -> Iterator[IntArray]:
        """Yields the pool of each request as the first stage orders it, best first."""
        for part in self._parts(asked):
            first = self._signals.first_stage(part)
            for row, pool in zip(first, self._pools(first, part), strict=True):
                yield pool[np.lexsort((pool, -row[pool]))]

    def by_text(self, request: Asked) -> FloatArray:
        """BM25 of the request over the items' titles and attributes, float32 (I,)."""
        return self._signals.by_text(request)

    def ordered_by(self, ranker: Ranker) -> Retriever:
        """The same retriever with a ranker for its second stage."""
        other = copy(self)
        other.ranker = ranker
        return other

    def features(self, asked: Sequence[Asked], pools: Sequence[IntArray]) -> FloatArray:
        """Features of the items of each request's pool, float32 (P, F); see ``describe``."""
        return describe(self._signals, asked, pools)

    # -- the first stage ---------------------------------------------------------------------

    def _parts(self, asked: Sequence[Asked]) -> Iterator[Sequence[Asked]]:
        """Requests in portions whose scores fit in memory."""
        step = int(np.clip(_SCORES_AT_ONCE // max(self.n_items, 1), 1, 256))
        for start in range(0, len(asked), step):
            yield asked[start : start + step]

    def _pools(self, first: FloatArray, asked: Sequence[Asked]) -> list[IntArray]:
        """Item indices of each request's pool, sorted, from the scores of the first stage."""
        pools = []
        for row, request in zip(first, asked, strict=True):
            count = min(self.pool, self.n_items - len(request.links.items))
            best = np.argpartition(-row, count - 1)[:count] if count > 0 else np.empty(0, np.int64)
            pools.append(np.sort(best).astype(np.int64))
        return pools

    @staticmethod
    def _fill(ordered: IntArray, first: FloatArray, k: int) -> IntArray:
        """An ordered pool; where it has fewer than k items, all others follow it.

        These are in the order of their scores ``first`` of the first stage, without named items.
        """
        if k <= len(ordered):
            return ordered
        rest = np.setdiff1d(np.flatnonzero(np.isfinite(first)), ordered)
        behind = rest[np.lexsort((rest, -first[rest]))]
        return np.concatenate([ordered, behind])


def best_first(scores: FloatArray, k: int, without: Sequence[int] = ()) -> IntArray:
    """Indices of the k items with the highest scores, best first; of equals, the lower index.

    Args:
        scores: Finite scores of all items, (I,).
        k: Number of items; fewer are returned if there are fewer.
        without: Indices of items that are left out.
    """
    kept = scores.astype(np.float64)
    kept[list(without)] = -np.inf
    count = min(k, len(kept) - len(set(without)))
    if count < 1:
        return np.empty(0, dtype=np.int64)
    least = np.partition(kept, len(kept) - count)[len(kept) - count]
    within = np.flatnonzero(kept >= least)
    return within[np.lexsort((within, -kept[within]))][:count]
