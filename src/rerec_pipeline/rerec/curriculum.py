"""Online curriculum learning (ReRec): what to train on next, by what the policy can do now.

Before each epoch the queries are sorted from easy to hard by their last visit,

    d = mean over the group of (1 - reward)

and those with d < tau are set aside as mastered. The paper drops them for good. Here a mastered
query is looked at again after ``review_after`` epochs and stays if it has been forgotten; an
epoch's last batch is filled up with the queries not seen for longest, so that the hardest ones,
which come last, are never cut off; and the whole state can be saved and restored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
from pydantic import Field

from rerec_pipeline.configs import Config


class CurriculumConfig(Config):
    """How the curriculum moves.

    Attributes:
        enabled: False visits all queries in a new seeded order every epoch.
        tau: A query easier than this is mastered (official: 0.1).
        review_after: Epochs after which a mastered query is visited again.
        seed: Seed of the order of the first epoch (of every epoch, when disabled).
    """

    enabled: bool
    tau: float = Field(ge=0, le=1)
    review_after: int = Field(ge=1)
    seed: int = Field(ge=0)


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch visits: counts for the record, order for the loop."""

    epoch: int
    order: tuple[int, ...]
    active: int
    mastered: int
    reviewed: int
    padding: int
    mean_difficulty: float | None


class Curriculum:
    """Serves batches of queries and learns from their rewards.

    Queries are addressed by position 0..N-1. A batch never holds a query twice (unless it is
    larger than the whole set) and is always full.

    Args:
        n_queries: N, at least 1.
        batch_size: Queries in a batch.
        config: Settings of the curriculum.

    Raises:
        ValueError: If there are no queries or batches are empty.
    """

    def __init__(self, n_queries: int, batch_size: int, config: CurriculumConfig):
        if n_queries < 1 or batch_size < 1:
            raise ValueError(
                f"need at least one query and one place, got {n_queries} and {batch_size}"
            )
        self.n_queries = n_queries
        self.batch_size = batch_size
        self.config = config
        self.difficulty = np.full(n_queries, np.nan)
        self.last_epoch = np.full(n_queries, -1, dtype=np.int64)
        self.last_visit = np.full(n_queries, -1, dtype=np.int64)
        self.visits = 0
        self.plans: list[EpochPlan] = []
        self._position = 0

    # -- the loop ------------------------------------------------------------------------

    def next_batch(self) -> list[int]:
        """The queries to visit next; plans a new epoch where the last one is used up."""
        if not self.plans or self._position >= len(self.plans[-1].order):
            self.plans.append(self._plan(len(self.plans)))
            self._position = 0
        batch = self.plans[-1].order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return list(batch)

    def record(self, queries: Sequence[int], difficulties: Sequence[float]) -> None:
        """Takes in how hard the visited queries were.

        Args:
            queries: The batch that was served.
            difficulties: Its d values, in the same order.
        """
        for query, difficulty in zip(queries, difficulties, strict=True):
            self.difficulty[query] = difficulty
            self.last_epoch[query] = len(self.plans) - 1
            self.last_visit[query] = self.visits
            self.visits += 1

    # -- planning ------------------------------------------------------------------------

    def _plan(self, epoch: int) -> EpochPlan:
        mastered = self.mastered()
        due = mastered & (epoch - self.last_epoch > self.config.review_after)
        chosen = np.flatnonzero(~mastered | due)
        if not len(chosen):
            # Everything is mastered and nothing is due: spend the budget on looking again.
            chosen = np.arange(self.n_queries)
            due = mastered
        order = self._ordered(chosen, epoch)
        padding = self._padding(order)
        return EpochPlan(
            epoch=epoch,
            order=tuple(padding + order),
            active=int((~mastered).sum()),
            mastered=int(mastered.sum()),
            reviewed=int(due.sum()),
            padding=len(padding),
            mean_difficulty=self._mean_difficulty(),
        )

    def _mean_difficulty(self) -> float | None:
        seen = ~np.isnan(self.difficulty)
        return float(self.difficulty[seen].mean()) if seen.any() else None

    def mastered(self) -> np.ndarray:
        """Which queries are set aside, bool (N,); none when the curriculum is disabled."""
        if not self.config.enabled:
            return np.zeros(self.n_queries, dtype=bool)
        return np.nan_to_num(self.difficulty, nan=np.inf) < self.config.tau

    def _ordered(self, chosen: np.ndarray, epoch: int) -> list[int]:
        """Easy to hard; queries never seen come last, ties in a seeded order."""
        shuffled = np.random.default_rng([self.config.seed, epoch]).permutation(chosen)
        if not self.config.enabled:
            return [int(q) for q in shuffled]
        difficulty = np.nan_to_num(self.difficulty[shuffled], nan=np.inf)
        return [int(q) for q in shuffled[np.argsort(difficulty, kind="stable")]]

    def _padding(self, order: list[int]) -> list[int]:
        """Queries that fill the epoch up to whole batches: those not seen for longest.

        They are served first, among the easy ones, so that the epoch still ends with its
        hardest queries.
        """
        missing = -len(order) % self.batch_size
        planned = set(order)
        by_age = np.argsort(self.last_visit, kind="stable")
        others = [int(q) for q in by_age if int(q) not in planned]
        # Where too few others are left, the epoch's own last queries come twice: from the end,
        # so that one batch holds a query twice only if it is larger than the whole set.
        return list(islice(cycle(others + order[::-1]), missing))

    # -- state ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on later, as plain JSON values."""
        return {
            "difficulty": [None if np.isnan(d) else float(d) for d in self.difficulty],
            "last_epoch": self.last_epoch.tolist(),
            "last_visit": self.last_visit.tolist(),
            "visits": self.visits,
            "position": self._position,
            "plans": [{**vars(plan), "order": list(plan.order)} for plan in self.plans],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state.

        Raises:
            ValueError: If the state is of another number of queries.
        """
        if len(state["difficulty"]) != self.n_queries:
            raise ValueError(
                f"the saved curriculum has {len(state['difficulty'])} queries, "
                f"this one {self.n_queries}"
            )
        self.difficulty = np.array([np.nan if d is None else d for d in state["difficulty"]])
        self.last_epoch = np.array(state["last_epoch"], dtype=np.int64)
        self.last_visit = np.array(state["last_visit"], dtype=np.int64)
        self.visits = int(state["visits"])
        self._position = int(state["position"])
        self.plans = [EpochPlan(**{**p, "order": tuple(p["order"])}) for p in state["plans"]]


def difficulties(rewards: np.ndarray, group_size: int) -> np.ndarray:
    """Difficulty of each query from the rewards of its group.

    d = mean over G of (1 - r), with r clamped to [0, 1] first: a summed reward can exceed 1.

    Args:
        rewards: float (Q * G,), the G completions of a query adjacent.
        group_size: G.

    Returns:
        float64 (Q,), each in [0, 1].
    """
    grouped = np.asarray(rewards, dtype=np.float64).reshape(-1, group_size)
    return (1.0 - np.clip(grouped, 0.0, 1.0)).mean(axis=1)
