"""What graph, text and behaviour say of items for a request, before anything is fitted."""

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

#: Rows of a request: its aspects, then the shares of its names and of its kinds that an item has.
ROWS = (*ASPECT_NAMES, "names_covered", "kinds_covered")

#: Weights of the first stage: of the rows, and of what else it adds up.
ROW_WEIGHTS = np.array([*ASPECTS.values(), 4.0, 2.0], dtype=np.float32)
BM25_WEIGHT, SEEN_WEIGHT, POPULARITY_WEIGHT, TYPICAL_WEIGHT = 0.15, 0.05, 0.3, 4


@dataclass(frozen=True)
class Asked:
    """A request as the retriever takes it.

    Attributes:
        links: What it is about.
        history: Indices of items that the user is known to like.
        cluster: Cluster of a training query: what others of it teach is left out.
    """

    links: Links
    history: tuple[int, ...] = ()
    cluster: int | None = None


class Examples:
    """Answered requests of the training split: who asks in such words is pleased by these items.

    Args:
        texts: The requests.
        truths: Indices of the right items of each.
        clusters: Cluster of each; a request learns nothing from its own cluster.
        n_items: I.
        neighbours: How many of the most similar requests are asked.
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
        """Items of similar requests, weighted by BM25, float32 (Q, I)."""
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
    """What is known of every item, looked up or added up for requests.

    Args:
        linker: Links requests to the catalogue and its facts.
        popularity: Interactions of each item, (I,).
        embeddings: LightGCN's embeddings of the items, (I, D); None where there are none.
        groups: What groups of users do; None where there are no profiles.
        examples: Answered requests of the training split; None without.
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
        self._basis = self._rows_of_items()

    def _rows_of_items(self) -> sparse.csr_matrix:
        """Attributes, and under them names in any relation, by items: (A + names, I)."""
        facts = self.facts
        ones = np.ones(len(facts.name), dtype=np.float32)
        shape = (int(facts.name.max(initial=-1)) + 1, len(facts.name))
        named = sparse.csr_matrix((ones, (facts.name, np.arange(len(ones)))), shape) @ facts.items
        named.data[:] = 1
        return sparse.vstack([facts.items, named], format="csr")

    def first_stage(self, asked: Sequence[Asked]) -> FloatArray:
        """Sums of what is known without a fit, (Q, I); named items get minus infinity."""
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
        """BM25 of the request over titles and attributes alone, (I,)."""
        return self._text.scores(request.links.text)

    def aspects(self, asked: Sequence[Asked]) -> sparse.csr_matrix:
        """What of each item every request touches, by aspect: float32 (Q * rows, I)."""
        facts, width = self.facts, len(ROWS)
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
                add(n * width + width - 2, len(facts.attributes) + name, 1 / len(names))
            for kind in sorted(kinds):
                add(n * width + width - 1, kind, 1 / len(kinds))
        shape = (len(asked) * width, self._basis.shape[0])
        return (
            sparse.csr_matrix((np.array(weights, dtype=np.float32), (rows, columns)), shape)
            @ self._basis
        )

    def near(self, request: Asked, pool: IntArray) -> FloatArray:
        """LightGCN: cosine to the named items and to the history, and product with the latter."""
        result = np.zeros((3, len(pool)), dtype=np.float32)
        named, history = list(request.links.items), list(request.history)
        if named:
            result[0] = self._direction[pool] @ self._direction[named].mean(axis=0)
        if history:
            result[1] = self._direction[pool] @ self._direction[history].mean(axis=0)
            result[2] = self._embedding[pool] @ self._embedding[history].mean(axis=0)
        return result

    def by_year(self, links: Links, pool: IntArray) -> tuple[FloatArray, FloatArray]:
        """Years from the items that are spoken of to each; whether it is of a year asked for."""
        years = self.year[pool]
        told = [year for year in self.year[list(links.items)].tolist() if not np.isnan(year)]
        told += [(first + last) / 2 for first, last in links.years]
        away = years - np.mean(told) if told else np.full(len(pool), np.nan)
        inside = np.zeros(len(pool), dtype=np.float32)
        for first, last in links.years:
            inside[(years >= first) & (years <= last)] = 1
        return away.astype(np.float32), inside


def _document(title: str, item: int, facts: Facts) -> str:
    said = [facts.attributes[a][1] for a in facts.of_item(item)]
    return " ".join([natural_order(title), *said])
