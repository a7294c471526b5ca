"""Signals of items for a request: from the graph, the text and users' behaviour, none fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rerec_pipeline.grounding.evidence import ASPECT_NAMES, ASPECTS, touches
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.links import Links
from rerec_pipeline.grounding.profiles import Groups
from rerec_pipeline.grounding.text import BM25
from rerec_pipeline.recbench.titles import natural_order, split_year

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

#: Rows that ``Signals.aspects`` has for each request: one for each aspect, then the share of the
#: request's names, and of its kinds, that an item has.
ROWS = (*ASPECT_NAMES, "names_covered", "kinds_covered")

#: Weights of the first stage, not fitted: of these rows, then of its other signals.
ROW_WEIGHTS = np.array([*ASPECTS.values(), 4.0, 2.0], dtype=np.float32)
BM25_WEIGHT, SEEN_WEIGHT, POPULARITY_WEIGHT, TYPICAL_WEIGHT = 0.15, 0.05, 0.3, 4


@dataclass(frozen=True)
class Asked:
    """A request as the retriever takes it.

    Attributes:
        links: What it is about.
        history: Indices of items that the user is known to like.
        cluster: Cluster of a training query, whose examples are then left out; None for any other
            request.
    """

    links: Links
    history: tuple[int, ...] = ()
    cluster: int | None = None


class Examples:
    """Answered requests of the training split: similar requests tend to have the same right items.

    Args:
        texts: The requests.
        truths: Indices of the right items of each request.
        clusters: Cluster of each request.
        n_items: Number of items I.
        neighbours: How many of the most similar requests are used.
    """

    def __init__(
        self,
        texts: Sequence[str],
        truths: Sequence[Sequence[int]],
        clusters: Sequence[int],
        n_items: int,
        neighbours: int = 20,
    ):
        self._text = BM25(texts)
        self._clusters = np.asarray(clusters, dtype=np.int64)
        self._neighbours = neighbours
        rows = np.repeat(np.arange(len(texts)), [len(t) for t in truths])
        columns = np.array([item for t in truths for item in t], dtype=np.int64)
        ones = np.ones(len(rows), dtype=np.float32)
        self._truths = sparse.csr_matrix((ones, (rows, columns)), shape=(len(texts), n_items))

    def scores(self, asked: Sequence[Asked]) -> sparse.csr_matrix:
        """Scores of the right items of similar requests, float32 CSR (Q, I).

        The score of an item is the sum of the BM25 scores of the similar requests that it answers.
        Examples of the request's own cluster are left out.
        """
        rows, columns, weights = [], [], []
        for n, request in enumerate(asked):
            near = self._text.scores(request.links.text)
            if request.cluster is not None:
                near = np.where(self._clusters == request.cluster, 0, near)
            count = min(self._neighbours, len(near))
            best = np.argpartition(-near, count - 1)[:count] if count else np.empty(0, np.int64)
            best = best[near[best] > 0]
            rows += [n] * len(best)
            columns += best.tolist()
            weights += near[best].tolist()
        shape = (len(asked), self._truths.shape[0])
        return (
            sparse.csr_matrix((np.array(weights, dtype=np.float32), (rows, columns)), shape)
            @ self._truths
        )


class Signals:
    """Computes signals of items for requests.

    Args:
        linker: Links requests to the catalogue and its facts.
        popularity: Interactions of each item, (I,).
        embeddings: LightGCN's embeddings of the items, (I, D); None where there are none.
        groups: Interactions by groups of users; None where there are no profiles.
        examples: Answered requests of the training split; None if there are none.

    Attributes:
        popularity: float32 (I,): ln(1 + interactions).
        year: float32 (I,): year in the title; NaN where it has none.
    """

    def __init__(
        self,
        linker: Linker,
        popularity: NDArray[np.float64],
        embeddings: FloatArray | None,
        groups: Groups | None,
        examples: Examples | None,
    ):
        self.facts: Facts = linker.facts
        self.groups = groups
        self.examples = examples
        titles = linker.catalogue.titles
        self.n_items = len(titles)
        self.popularity = np.log1p(np.asarray(popularity, dtype=np.float32))
        years = [split_year(title)[1] for title in titles]
        self.year = np.array([np.nan if y is None else y for y in years], dtype=np.float32)
        self._text = BM25(_document(title, n, self.facts) for n, title in enumerate(titles))
        if embeddings is None or embeddings.shape[1] == 0:
            embeddings = np.zeros((self.n_items, 1), dtype=np.float32)
        self._embedding = np.asarray(embeddings, dtype=np.float32)
        length = np.linalg.norm(self._embedding, axis=1, keepdims=True)
        self._direction = self._embedding / np.maximum(length, 1e-12)
        self._holders = self._holders_of_attributes_and_names()

    def _holders_of_attributes_and_names(self) -> sparse.csr_matrix:
        """1 where an item has an attribute, below that a name in any relation: (A + names, I)."""
        facts = self.facts
        ones = np.ones(len(facts.name), dtype=np.float32)
        shape = (int(facts.name.max(initial=-1)) + 1, len(facts.name))
        named = sparse.csr_matrix((ones, (facts.name, np.arange(len(ones)))), shape) @ facts.items
        named.data[:] = 1
        return sparse.vstack([facts.items, named], format="csr")

    def first_stage(self, asked: Sequence[Asked]) -> FloatArray:
        """Weighted sums of the signals, float32 (Q, I); named items get minus infinity."""
        spread = sparse.kron(sparse.eye(len(asked)), ROW_WEIGHTS[None], format="csr")
        scores = np.asarray((spread @ self.aspects(asked)).todense(), dtype=np.float32)
        seen = None if self.examples is None else self.examples.scores(asked)
        for n, request in enumerate(asked):
            scores[n] += BM25_WEIGHT * self.by_text(request)
            if seen is not None:
                scores[n, seen[n].indices] += SEEN_WEIGHT * seen[n].data
            scores[n] += POPULARITY_WEIGHT * self.popularity
            if self.groups is not None:
                scores[n] += TYPICAL_WEIGHT * self.groups.scores(request.links.profile)
            scores[n, list(request.links.items)] = -np.inf
        return scores

    def by_text(self, request: Asked) -> FloatArray:
        """BM25 of the request over the items' titles and attributes, float32 (I,)."""
        return self._text.scores(request.links.text)

    def aspects(self, asked: Sequence[Asked]) -> sparse.csr_matrix:
        """How much of each item a request touches in each of ``ROWS``: float32 CSR (Q * R, I).

        Request n has the R rows from n * R on. A row of an aspect sums the rarity of the item's
        attributes that are touched in this way; the last two are shares, 0 to 1.
        """
        facts, width = self.facts, len(ROWS)
        names_row, kinds_row = ROWS.index("names_covered"), ROWS.index("kinds_covered")
        rows, columns, weights = [], [], []

        def add(row: int, column: int, weight: float) -> None:
            rows.append(row)
            columns.append(column)
            weights.append(weight)

        for n, request in enumerate(asked):
            links = request.links
            names, kinds = set(), set()
            for touch in touches(links, facts):
                row = n * width + ASPECT_NAMES.index(touch.aspect)
                add(row, touch.attribute, float(facts.rarity[touch.attribute]))
                if touch.aspect.startswith("said"):
                    names.add(int(facts.name[touch.attribute]))
                elif touch.aspect == "kind":
                    kinds.add(touch.attribute)
            for name in sorted(names):
                add(n * width + names_row, len(facts.attributes) + name, 1 / len(names))
            for kind in sorted(kinds):
                add(n * width + kinds_row, kind, 1 / len(kinds))
        shape = (len(asked) * width, self._holders.shape[0])
        return (
            sparse.csr_matrix((np.array(weights, dtype=np.float32), (rows, columns)), shape)
            @ self._holders
        )

    def near(self, request: Asked, pool: IntArray) -> FloatArray:
        """LightGCN's similarity of the items of a pool to a request, float32 (3, P).

        The rows are the mean cosine to the named items, the mean cosine to the history, and the
        mean inner product with the history; 0 where nothing is named or there is no history.
        """
        result = np.zeros((3, len(pool)), dtype=np.float32)
        named, history = list(request.links.items), list(request.history)
        if named:
            result[0] = self._direction[pool] @ self._direction[named].mean(axis=0)
        if history:
            result[1] = self._direction[pool] @ self._direction[history].mean(axis=0)
            result[2] = self._embedding[pool] @ self._embedding[history].mean(axis=0)
        return result

    def by_year(self, links: Links, pool: IntArray) -> tuple[FloatArray, FloatArray]:
        """How the years of the items of a pool fit a request, two float32 (P,).

        First the years from the mean year of the request (of its named items and the years in it)
        to each item; NaN where either is not known. Then 1 where the item is of a year in the
        request, otherwise 0.
        """
        years = self.year[pool]
        known = [year for year in self.year[list(links.items)].tolist() if not np.isnan(year)]
        known += [(first + last) / 2 for first, last in links.years]
        away = years - np.mean(known) if known else np.full(len(pool), np.nan)
        inside = np.zeros(len(pool), dtype=np.float32)
        for first, last in links.years:
            inside[(years >= first) & (years <= last)] = 1
        return away.astype(np.float32), inside


def _document(title: str, item: int, facts: Facts) -> str:
    """The text of an item for BM25: its title and the values of its attributes."""
    values = [facts.attributes[a][1] for a in facts.of_item(item)]
    return " ".join([natural_order(title), *values])
