"""Scores of items for a request: links spread over the graph, text, behaviour, and a ranker.

Two stages. The first adds up what the graph, text and popularity say, with weights that are not
fitted, and keeps a pool of the best. The second describes every item of the pool by features, and
a ranker that was fitted on the training split puts the pool in order. Choosing among given
candidates is the second stage alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rerec_pipeline.grounding.evidence import ASPECT_NAMES, ASPECTS, Reason, explain, touches
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.links import Links
from rerec_pipeline.grounding.profiles import Groups
from rerec_pipeline.grounding.text import BM25
from rerec_pipeline.recbench.titles import natural_order, split_year

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

#: Rows of a request beside its aspects: shares of the names and of the kinds that an item has.
_ROWS = (*ASPECT_NAMES, "names_covered", "kinds_covered")

#: Features of an item by itself, and those that are also told relative to the rest of its pool.
PLAIN = (
    *_ROWS, "bm25", "seen_with", "near_named", "near_history", "like_history", "typical",
    "typical_place", "popularity", "year", "from_year", "in_years", "first_stage",
)  # fmt: skip
RELATIVE = (
    "names_covered", "bm25", "seen_with", "near_named", "like_history", "typical", "popularity",
    "first_stage",
)  # fmt: skip
OF_REQUEST = (
    "named_items", "said_names", "said_kinds", "said_of_user", "contradicted", "spoken_relations",
)  # fmt: skip
FEATURES = (
    *PLAIN,
    *(f"{name}_behind_best" for name in RELATIVE),
    *(f"{name}_rank" for name in RELATIVE),
    *OF_REQUEST,
)

#: Numbers held at once: scores of a chunk of requests for all items, 64 MB of float32.
_PORTION = 16_000_000


class Ranker(Protocol):
    """Anything that turns features into scores."""

    def predict(self, features: FloatArray) -> NDArray[np.float64]:
        """Scores (P,) of items described by features (P, F); more is better."""
        ...


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


class Retriever:
    """Scores items for requests.

    Args:
        linker: Links requests to the catalogue and its facts.
        popularity: Interactions of each item, (I,).
        embeddings: LightGCN's embeddings of the items, (I, D); None where there are none.
        groups: What groups of users do; None where there are no profiles.
        examples: Answered requests of the training split; None without.
        ranker: Orders a pool by features; None leaves the order of the first stage.
        pool: Items that the first stage keeps.
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
        self.examples = examples
        self.ranker = ranker
        titles = linker.catalogue.titles
        self.n_items = len(titles)
        self.pool = min(pool, self.n_items)
        self.popularity = np.asarray(popularity, dtype=np.float32)
        self._popularity = np.log1p(self.popularity)
        years = [split_year(title)[1] for title in titles]
        self._year = np.array([np.nan if y is None else y for y in years], dtype=np.float32)
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

    # -- one request -----------------------------------------------------------------------

    def ask(self, text: str, history: Sequence[int] = ()) -> Asked:
        """Links a request.

        Args:
            text: What the user says.
            history: Indices of items that the user is known to like.
        """
        return Asked(self.linker.link(text), tuple(history))

    def scores(self, request: Asked) -> NDArray[np.float64]:
        """Scores of all items, (I,); items that the request names get minus infinity."""
        first = self._first_stage([request])[0]
        scores = np.full(self.n_items, -np.inf)
        (pool,) = self._pools(first[None], [request])
        rest = np.setdiff1d(np.flatnonzero(np.isfinite(first)), pool)
        ranked = self.rank([request], [pool])[0] if len(pool) else np.empty(0)
        scores[pool] = ranked
        # What the first stage left out stands behind the pool, in the first stage's order.
        scores[rest] = ranked.min(initial=0) - 1 - first[rest].max(initial=0) + first[rest]
        return scores

    def top(self, request: Asked, k: int, exclude: Sequence[int] = ()) -> list[int]:
        """The k best items, best first; neither those that the request names nor ``exclude``."""
        (found,) = self.retrieve([request], k + len(set(exclude)))
        return [item for item in found.tolist() if item not in set(exclude)][:k]

    def choose(self, request: Asked, candidates: Sequence[int]) -> int:
        """The best of some candidates; the first listed of equals."""
        return self.choices([request], [candidates])[0]

    def explain(self, links: Links, item: int) -> list[Reason]:
        """The facts of an item that touch a request, and why (see ``evidence.explain``)."""
        return explain(links, item, self.facts)

    # -- many requests ---------------------------------------------------------------------

    def choices(self, asked: Sequence[Asked], candidates: Sequence[Sequence[int]]) -> list[int]:
        """The best candidate of each request; the first listed of equals."""
        pools = [np.asarray(listed, dtype=np.int64) for listed in candidates]
        ranked = self.rank(asked, pools)
        return [int(pool[np.argmax(s)]) for pool, s in zip(pools, ranked, strict=True)]

    def retrieve(self, asked: Sequence[Asked], k: int) -> list[IntArray]:
        """The at most k best items of each request, best first, without those it names."""
        found = []
        for part in self._parts(asked):
            first = self._first_stage(part)
            pools = self._pools(first, part)
            for row, pool, scores in zip(first, pools, self.rank(part, pools), strict=True):
                order = pool[np.lexsort((pool, -scores))]
                found.append(self._fill(order, row, k)[:k])
        return found

    def rank(self, asked: Sequence[Asked], pools: Sequence[IntArray]) -> list[NDArray[np.float64]]:
        """Scores of the items in each request's pool."""
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
        """What the first stage keeps for each request, best first."""
        for part in self._parts(asked):
            first = self._first_stage(part)
            for row, pool in zip(first, self._pools(first, part), strict=True):
                yield pool[np.lexsort((pool, -row[pool]))]

    def by_text(self, request: Asked) -> FloatArray:
        """BM25 of the request over titles and attributes alone, (I,)."""
        return self._text.scores(request.links.text)

    def ordered_by(self, ranker: Ranker) -> Retriever:
        """The same retriever with a ranker for its second stage."""
        other = copy(self)
        other.ranker = ranker
        return other

    def features(self, asked: Sequence[Asked], pools: Sequence[IntArray]) -> FloatArray:
        """Describes the items of each request's pool in turn: ``FEATURES``, float32 (P, F)."""
        sizes = np.array([len(pool) for pool in pools], dtype=np.int64)
        row = np.repeat(np.arange(len(asked)), sizes)
        item = np.concatenate([np.empty(0, np.int64), *pools]).astype(np.int64)
        if not len(item):
            return np.empty((0, len(FEATURES)), dtype=np.float32)
        # Several lists of one request that follow each other are described together.
        new = [n == 0 or request is not asked[n - 1] for n, request in enumerate(asked)]
        owner = np.cumsum(new) - 1
        distinct = [request for request, first in zip(asked, new, strict=True) if first]
        plain = self._plain(distinct, owner[row], item)
        starts = np.cumsum([0, *sizes])[:-1]
        filled = sizes > 0
        behind, ranks = [], []
        for name in RELATIVE:
            column = plain[:, PLAIN.index(name)]
            best = np.maximum.reduceat(column, starts[filled])
            behind.append(column - np.repeat(best, sizes[filled]))
            ranks.append(_ranks(column, row, starts))
        request = np.array([_of_request(a.links) for a in asked], dtype=np.float32)
        columns = [plain, *(np.stack(c, axis=1) for c in (behind, ranks)), request[row]]
        return np.concatenate(columns, axis=1).astype(np.float32)

    # -- the first stage ---------------------------------------------------------------------

    def _parts(self, asked: Sequence[Asked]) -> Iterator[Sequence[Asked]]:
        step = int(np.clip(_PORTION // max(self.n_items, 1), 1, 256))
        for start in range(0, len(asked), step):
            yield asked[start : start + step]

    def _first_stage(self, asked: Sequence[Asked]) -> FloatArray:
        """Sums of what is known without a fit, (Q, I); named items get minus infinity."""
        total = self._aspects(asked)
        weights = np.array([*ASPECTS.values(), 4.0, 2.0], dtype=np.float32)
        spread = sparse.kron(sparse.eye(len(asked)), weights[None], format="csr") @ total
        scores = np.asarray(spread.todense(), dtype=np.float32)
        seen = None if self.examples is None else self.examples.scores(asked)
        for n, request in enumerate(asked):
            scores[n] += 0.15 * self._text.scores(request.links.text)
            if seen is not None:
                scores[n, seen[n].indices] += 0.05 * seen[n].data
            scores[n] += 0.3 * self._popularity
            if self.groups is not None:
                scores[n] += 4 * self.groups.scores(request.links.profile)
            scores[n, list(request.links.items)] = -np.inf
        return scores

    def _pools(self, first: FloatArray, asked: Sequence[Asked]) -> list[IntArray]:
        pools = []
        for row, request in zip(first, asked, strict=True):
            count = min(self.pool, self.n_items - len(request.links.items))
            best = np.argpartition(-row, count - 1)[:count] if count > 0 else np.empty(0, np.int64)
            pools.append(np.sort(best).astype(np.int64))
        return pools

    @staticmethod
    def _fill(order: IntArray, first: FloatArray, k: int) -> IntArray:
        """An order of the pool, and behind it what the first stage left out, up to k items."""
        if k <= len(order):
            return order
        rest = np.setdiff1d(np.flatnonzero(np.isfinite(first)), order)
        behind = rest[np.lexsort((rest, -first[rest]))]
        return np.concatenate([order, behind])

    # -- features ----------------------------------------------------------------------------

    def _aspects(self, asked: Sequence[Asked]) -> sparse.csr_matrix:
        """What of each item every request touches, by aspect: float32 (Q * rows, I)."""
        facts, width = self.facts, len(_ROWS)
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

    def _plain(self, asked: Sequence[Asked], row: IntArray, item: IntArray) -> FloatArray:
        aspects = self._aspects(asked)
        width = len(_ROWS)
        columns = [_look_up(aspects, row * width + n, item) for n in range(width)]
        text = np.zeros(len(row), dtype=np.float32)
        typical = np.zeros((2, len(row)), dtype=np.float32)
        near = np.zeros((3, len(row)), dtype=np.float32)
        from_year = np.full(len(row), np.nan, dtype=np.float32)
        in_years = np.zeros(len(row), dtype=np.float32)
        ends = np.searchsorted(row, np.arange(len(asked) + 1))
        for n, request in enumerate(asked):
            at = slice(ends[n], ends[n + 1])
            pool = item[at]
            text[at] = self._text.scores(request.links.text)[pool]
            if self.groups is not None:
                typical[0, at] = self.groups.scores(request.links.profile)[pool]
                typical[1, at] = self.groups.places(request.links.profile)[pool]
            near[:, at] = self._near(request, pool)
            from_year[at], in_years[at] = self._by_year(request.links, pool)
        seen = (
            np.zeros(len(row), dtype=np.float32)
            if self.examples is None
            else _look_up(self.examples.scores(asked), row, item)
        )
        popularity, year = self._popularity[item], self._year[item]
        weights = np.array([*ASPECTS.values(), 4.0, 2.0], dtype=np.float32)
        first = weights @ np.stack(columns) + 0.15 * text + 0.05 * seen + 0.3 * popularity
        first += 4 * typical[0]
        parts = [
            *columns,
            text,
            seen,
            *near,
            *typical,
            popularity,
            year,
            from_year,
            in_years,
            first,
        ]
        return np.stack(parts, axis=1)

    def _near(self, request: Asked, pool: IntArray) -> FloatArray:
        """LightGCN: cosine to the named items and to the history, and product with the latter."""
        result = np.zeros((3, len(pool)), dtype=np.float32)
        named, history = list(request.links.items), list(request.history)
        if named:
            result[0] = self._direction[pool] @ self._direction[named].mean(axis=0)
        if history:
            result[1] = self._direction[pool] @ self._direction[history].mean(axis=0)
            result[2] = self._embedding[pool] @ self._embedding[history].mean(axis=0)
        return result

    def _by_year(self, links: Links, pool: IntArray) -> tuple[FloatArray, FloatArray]:
        """Years from the items that are spoken of to each; whether it is of a year asked for."""
        years = self._year[pool]
        told = [year for year in self._year[list(links.items)].tolist() if not np.isnan(year)]
        told += [(first + last) / 2 for first, last in links.years]
        away = years - np.mean(told) if told else np.full(len(pool), np.nan)
        inside = np.zeros(len(pool), dtype=np.float32)
        for first, last in links.years:
            inside[(years >= first) & (years <= last)] = 1
        return away.astype(np.float32), inside


def best_first(scores: FloatArray, k: int, without: Sequence[int] = ()) -> IntArray:
    """Indices of the at most k items with the highest scores, the first of equals first.

    Args:
        scores: Of all items, (I,).
        k: How many.
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


def _of_request(links: Links) -> list[float]:
    contradicted = sum(claim.status == "contradicted" for claim in links.claims)
    counts = (len(links.items), len(links.values), len(links.kinds), links.profile.said)
    return [*map(float, counts), float(contradicted), float(len(links.cues))]


def _document(title: str, item: int, facts: Facts) -> str:
    said = [facts.attributes[a][1] for a in facts.of_item(item)]
    return " ".join([natural_order(title), *said])


def _look_up(matrix: sparse.csr_matrix, row: IntArray, column: IntArray) -> FloatArray:
    """Entries of a sparse matrix, float32 of the shape of ``row``."""
    matrix.sort_indices()
    width = matrix.shape[1]
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    keys = rows * width + matrix.indices
    wanted = row * width + column
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    if not len(keys):
        return np.zeros(len(row), dtype=np.float32)
    return np.where(keys[place] == wanted, matrix.data[place], 0).astype(np.float32)


def _ranks(values: FloatArray, row: IntArray, starts: IntArray) -> FloatArray:
    """Rank within each pool, 0 the largest; equals share the first of their ranks."""
    order = np.lexsort((-values, row))
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.arange(len(values)) - starts[row[order]]
    ordered, rows = values[order], row[order]
    new = np.ones(len(values), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]) | (rows[1:] != rows[:-1])
    first = np.maximum.accumulate(np.where(new, np.arange(len(values)), 0))
    result = np.empty(len(values), dtype=np.float32)
    result[order] = first - starts[rows]
    return result
