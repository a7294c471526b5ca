"""The choice put to the policy: one right item among negatives, in a seeded order."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from rerec_pipeline.configs import Config
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import Attribute, AttributeGraph
from rerec_pipeline.recbench.needs import NeedReader
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.splits import Need
from rerec_pipeline.recbench.titles import ItemIndex


class CandidateConfig(Config):
    """How the candidates of a query are chosen.

    Attributes:
        source: ``drawn``: the right item and random negatives, as in the paper. ``retrieved``: what
            the first stage of retrieval finds; the right item is among them only if it is found.
        size: Number of candidates, the right item included (20 in the paper).
        hard: Up to this many negatives share some, but not all, of what is asked.
        traps: Up to this many negatives satisfy what a misinformed query falsely states. Both are
            about drawn candidates.
        seed: Seed of the choice of the right item, of the negatives and of their order.
    """

    source: Literal["drawn", "retrieved"]
    size: int = Field(ge=2)
    hard: int = Field(ge=0)
    traps: int = Field(ge=0)
    seed: int = Field(ge=0)


@dataclass(frozen=True)
class Choice:
    """One query's candidates as item indices; ``truth`` is one of them, if drawn."""

    truth: int
    candidates: tuple[int, ...]


class CandidateDrawer:
    """Chooses candidates; the result for a query does not depend on the other queries' order.

    A negative that is drawn is never a known right item of the query or of another query with the
    same need, never an item that satisfies all conditions by the attribute graph, never an item
    that the query names, never one of the user's history and never one that cannot be answered
    (see ``ItemIndex.is_answerable``).
    Where a record's labels are incomplete, it is no item that may be right unlisted, either (see
    ``NeedReader.plausible_truths``).

    Args:
        catalogue: All items.
        graph: The attribute graph over the same items.
        known_truths: need -> ids of all items known to be right for it.
        config: Settings of the draw.
    """

    def __init__(
        self,
        catalogue: ItemIndex,
        graph: AttributeGraph,
        known_truths: Mapping[Need, set[int]],
        config: CandidateConfig,
    ):
        self.catalogue = catalogue
        self.graph = graph
        self.known_truths = known_truths
        self.config = config
        self.needs = NeedReader(catalogue, graph)
        self._unanswerable = [n for n in range(len(catalogue)) if not catalogue.is_answerable(n)]

    def draw(self, query: Query, need: Need, mentioned: Collection[int]) -> Choice:
        """Draws the candidates of one query.

        Args:
            query: The query.
            need: What it asks for.
            mentioned: Indices of the items its text names.

        Returns:
            The right item and all candidates, as item indices.

        Raises:
            BadInputError: If too few items are left to be negatives.
        """
        rng, truth = self._begin(query)
        free = np.ones(len(self.catalogue), dtype=bool)
        free[self._barred(query, need, mentioned)] = False
        chosen: list[int] = []
        for pool, count in (
            (self._traps(query), self.config.traps),
            (self._sharing(query, truth), self.config.hard),
            (np.arange(len(self.catalogue)), self.config.size - 1),
        ):
            left = pool[free[pool]]
            room = min(count, self.config.size - 1 - len(chosen), len(left))
            picked = rng.choice(left, size=room, replace=False)
            free[picked] = False
            chosen += picked.tolist()
        if len(chosen) < self.config.size - 1:
            raise BadInputError(
                "queries",
                f"only {len(chosen)} items can be negatives, {self.config.size - 1} are needed",
                record=query.query_id,
                remedy="Lower data.candidates.size or use a larger catalogue",
            )
        candidates = rng.permutation([truth, *chosen])
        return Choice(truth, tuple(int(c) for c in candidates))

    def keep(self, query: Query, mentioned: Collection[int], found: Iterable[int]) -> Choice:
        """Takes the first of the items that retrieval found, in a seeded order.

        Left out is what the query names, what the user has seen, what cannot be answered and what
        else the record lists as right, so that at most one candidate is. Nothing else is taken
        from the labels: which items are chosen does not depend on which of them is right.

        Args:
            query: The query.
            mentioned: Indices of the items its text names.
            found: Item indices, best first.

        Returns:
            The right item, which may not be among them, and the candidates.

        Raises:
            BadInputError: If too few items are left.
        """
        rng, truth = self._begin(query)
        others = set(self.catalogue.indices(query.truth_ids)) - {truth}
        barred = others | self._never_listed(query, mentioned)
        chosen = [item for item in found if item not in barred][: self.config.size]
        if len(chosen) < self.config.size:
            raise BadInputError(
                "queries",
                f"retrieval finds {len(chosen)} items, {self.config.size} are needed",
                record=query.query_id,
                remedy="Lower data.candidates.size or raise retrieval.pool",
            )
        return Choice(truth, tuple(int(c) for c in rng.permutation(chosen)))

    def _begin(self, query: Query) -> tuple[np.random.Generator, int]:
        """The query's random numbers, and the right item that they choose."""
        rng = random_numbers(self.config.seed, query.query_id)
        truths = self.catalogue.indices(query.truth_ids)
        return rng, truths[int(rng.integers(len(truths)))]

    def _never_listed(self, query: Query, mentioned: Collection[int]) -> set[int]:
        """Items that are no candidates wherever they come from."""
        seen = self.catalogue.indices(query.history)
        return {*seen, *self._unanswerable, *mentioned}

    def _barred(self, query: Query, need: Need, mentioned: Collection[int]) -> list[int]:
        barred = self._never_listed(query, mentioned)
        barred.update(self.catalogue.indices(query.truth_ids))
        barred.update(self.needs.plausible_truths(query, mentioned).tolist())
        barred.update(self.catalogue.indices(self.known_truths.get(need, ())))
        if query.conditions:
            barred.update(self.graph.satisfying(query.conditions).tolist())
        return sorted(barred)

    def _traps(self, query: Query) -> np.ndarray:
        """Items that satisfy a false statement of the query."""
        false = {(claim.relation, claim.value) for claim in query.claims}
        return self._with_any(false)

    def _sharing(self, query: Query, truth: int) -> np.ndarray:
        """Items that share an asked attribute or, where none is known, one of the truth's."""
        return self._with_any(set(query.conditions) or self.graph.attributes_of(truth))

    def _with_any(self, attributes: Iterable[Attribute]) -> np.ndarray:
        found = [self.graph.items_with(a) for a in sorted(attributes)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)


def truths_by_need(queries: Sequence[Query], needs: Sequence[Need]) -> dict[Need, set[int]]:
    """Collects, for every need, the ids of all items some record calls right for it."""
    known: dict[Need, set[int]] = {}
    for query, need in zip(queries, needs, strict=True):
        known.setdefault(need, set()).update(query.truth_ids)
    return known


def random_numbers(seed: int, query_id: str) -> np.random.Generator:
    """The random numbers of a query's list, whatever other queries there are.

    Args:
        seed: ``CandidateConfig.seed``.
        query_id: Of the query.
    """
    return np.random.default_rng([seed, zlib.crc32(query_id.encode())])
