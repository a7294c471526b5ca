"""Documents that warm up a model made from scratch on real data: facts, and naive traces.

Real titles, real requests of the training split, and facts of the attribute graph; nothing of a
validation or test query. A trace restates what is plausibly wanted, considers a few candidates
with true facts and mostly true verdicts, and often answers something else: what is left to learn
is the deciding. How well a model of this size takes it in is a matter of measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rerec_pipeline.configs import Config
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import Attribute, AttributeGraph
from rerec_pipeline.recbench.documents import DOES_NOT_FIT, FITS, Document
from rerec_pipeline.recbench.needs import NeedReader
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.relations import (
    KIND_RELATIONS,
    RELATION_PHRASES,
    is_kind,
    phrases_of,
)
from rerec_pipeline.recbench.task import Example
from rerec_pipeline.recbench.titles import ItemIndex

WarmupKind = Literal["facts", "recite", "ask", "trace"]
WARMUP_KINDS: tuple[WarmupKind, ...] = get_args(WarmupKind)

#: Questions that the task never asks; they tell the skills from the task.
DESCRIBE, RECITE = "Describe it.", "Recite some."
#: Wordings of fabricated requests; ``{need}`` is what a trace would restate.
_REQUESTS = (
    "I'm looking for something {need}.",
    "Can you recommend a title {need}?",
    "I'd like one {need}, please.",
    "Do you know anything {need}?",
)
_RECITED = 6
#: Values of one relation that a fact sentence names at most.
_VALUES = 3


class WarmupHabits(Config):
    """How well the naive reasoner of the traces decides.

    Attributes:
        looks: Mean number of candidates it considers (at least 1, at most 4).
        spots: Chance that a look goes to the right one.
        follows: How much popularity attracts the other looks (0: not at all).
        commits: Chance to answer one that it judged to fit; else any it considered.
        true_verdicts: Share of its verdicts that are true.
    """

    looks: float = Field(ge=1, le=4)
    spots: float = Field(ge=0, le=1)
    follows: float = Field(ge=0)
    commits: float = Field(ge=0, le=1)
    true_verdicts: float = Field(ge=0, le=1)


@dataclass(frozen=True)
class Lesson:
    """One training query as a trace is written about it.

    Attributes:
        text: What the user says.
        need: What is plausibly wanted; empty where nothing tells.
        truth: The right candidate, an item index.
        barred: Items that must not be listed beside it (right ones, named ones).
    """

    text: str
    need: frozenset[Attribute]
    truth: int
    barred: frozenset[int]


def read_lessons(
    queries: Sequence[Query],
    examples: Sequence[Example],
    splits: Sequence[str],
    reader: NeedReader,
) -> tuple[list[Lesson], frozenset[tuple[Attribute, int]]]:
    """Makes lessons of training queries, and notes what the other splits plausibly ask for.

    Args:
        queries: The queries, N.
        examples: What the policy is asked in each, N.
        splits: The split of each, N.
        reader: Infers needs.

    Returns:
        One lesson for each training query, and the (attribute, item index) pairs held out.
    """
    lessons: list[Lesson] = []
    heldout: set[tuple[Attribute, int]] = set()
    for query, example, split in zip(queries, examples, splits, strict=True):
        right = reader.catalogue.indices(query.truth_ids)
        if split == "train":
            need = reader.need(query, example.mentioned)
            fitting = reader.graph.satisfying(need).tolist() if need else []
            barred = frozenset([*right, *fitting]) | example.mentioned
            lessons.append(Lesson(query.text, need, example.truth, barred))
        else:
            asked = reader.plausible_conditions(query, example.mentioned)
            heldout |= {(attribute, item) for attribute in asked for item in right}
    return lessons, frozenset(heldout)


class WarmupWriter:
    """Writes documents about one real data set.

    Args:
        catalogue: All items.
        graph: The attribute graph over them.
        popularity: Interactions of each item, (N,).
        lessons: The training queries.
        heldout: (attribute, item index) pairs that validation and test queries plausibly ask
            for; no fabricated request is made of them.
        prompt: Words a request and its candidates (item indices) as the task does.
        habits: How well the naive reasoner decides.
        seed: Everything random follows from it.
    """

    def __init__(
        self,
        catalogue: ItemIndex,
        graph: AttributeGraph,
        popularity: NDArray[np.float64],
        lessons: Sequence[Lesson],
        heldout: frozenset[tuple[Attribute, int]],
        prompt: Callable[[str, Sequence[int]], str],
        habits: WarmupHabits,
        seed: int,
    ):
        self.catalogue, self.graph, self.popularity = catalogue, graph, popularity
        self.lessons, self.heldout = lessons, heldout
        self.prompt, self.habits = prompt, habits
        self.rng = np.random.default_rng(seed)
        self._answerable = {n for n in range(len(catalogue)) if catalogue.is_answerable(n)}
        self._described = [n for n in range(len(catalogue)) if graph.attributes_of(n)]
        self._writers: Mapping[str, Callable[[int], Document]] = {
            "facts": self._facts,
            "recite": self._recite,
            "ask": self._ask,
            "trace": self._trace,
        }

    def write(self, kind: str, list_size: int) -> Document:
        """Writes one document.

        Args:
            kind: One of ``WARMUP_KINDS``.
            list_size: Candidates in its list, if it has one.
        """
        return self._writers[kind](list_size)

    # -- kinds ---------------------------------------------------------------------------

    def _facts(self, _: int) -> Document:
        item = self._described[self._below(len(self._described))]
        title = self.catalogue.titles[item]
        facts = self._sentence(self.graph.attributes_of(item))
        return Document("facts", ((f"{title}\n\n{DESCRIBE}", f"{title}: {facts}."),))

    def _recite(self, size: int) -> Document:
        """Titles of a list, in any order: nothing but copying."""
        items = self._others(size, frozenset())
        titles = [self.catalogue.titles[n] for n in items]
        recited = [titles[n] for n in self.rng.permutation(len(titles))[:_RECITED]]
        listed = "\n".join(titles)
        return Document("recite", ((f"{listed}\n\n{RECITE}", "\n".join(recited)),))

    def _ask(self, size: int) -> Document:
        """A fabricated request for one attribute of an item, where that may be told."""
        if not self._may_ask:
            raise BadInputError(
                "attribute graph", "validation and test queries ask for every fact of it",
                remedy="A model from scratch needs more items or facts; use a pretrained backbone",
            )  # fmt: skip
        while True:
            item = self._described[self._below(len(self._described))]
            free = self._free(item)
            if free:
                break
        need = frozenset([free[self._below(len(free))]])
        request = _REQUESTS[self._below(len(_REQUESTS))].format(need=self._sentence(need))
        barred = frozenset(self.graph.satisfying(need).tolist())
        return self._written("ask", Lesson(request, need, item, barred), size)

    def _free(self, item: int) -> list[Attribute]:
        """Attributes of an item that may be asked for."""
        held = sorted(self.graph.attributes_of(item))
        return [a for a in held if _is_told(a) and (a, item) not in self.heldout]

    @cached_property
    def _may_ask(self) -> bool:
        return any(self._free(item) for item in self._described)

    def _trace(self, size: int) -> Document:
        return self._written("trace", self.lessons[self._below(len(self.lessons))], size)

    # -- parts ---------------------------------------------------------------------------

    def _written(self, kind: str, lesson: Lesson, size: int) -> Document:
        candidates = [lesson.truth, *self._others(size - 1, lesson.barred | {lesson.truth})]
        listed = [candidates[n] for n in self.rng.permutation(len(candidates))]
        said = self.prompt(lesson.text, listed)
        return Document(kind, ((said, self._reasoning(lesson, listed)),))

    def _reasoning(self, lesson: Lesson, listed: Sequence[int]) -> str:
        considered = self._look(lesson, listed)
        verdicts = [
            self._fits(n, lesson) == (self.rng.random() < self.habits.true_verdicts)
            for n in considered
        ]
        fitting = [n for n, verdict in zip(considered, verdicts, strict=True) if verdict]
        pool = fitting if fitting and self.rng.random() < self.habits.commits else considered
        answer = pool[self._below(len(pool))]
        lines = [f"Wanted: {self._sentence(lesson.need)}."] if lesson.need else []
        asked = {relation for relation, _ in lesson.need}
        for item, verdict in zip(considered, verdicts, strict=True):
            known = {
                a
                for a in self.graph.attributes_of(item)
                if (a[0] in asked if asked else is_kind(a[0]))
            }
            facts = f" {self._sentence(known)}." if known else ""
            judged = FITS if verdict else DOES_NOT_FIT
            lines.append(f"{self.catalogue.titles[item]}:{facts} {judged}")
        return "\n".join([*lines, f"\\boxed{{{self.catalogue.titles[answer]}}}"])

    def _fits(self, item: int, lesson: Lesson) -> bool:
        return item == lesson.truth or (
            bool(lesson.need) and lesson.need <= self.graph.attributes_of(item)
        )

    def _look(self, lesson: Lesson, listed: Sequence[int]) -> list[int]:
        """Which candidates are considered, in order."""
        left = list(listed)
        looks = min(len(left), 1 + min(3, int(self.rng.poisson(self.habits.looks - 1))))
        considered: list[int] = []
        for _ in range(looks):
            weights = (1.0 + self.popularity[left]) ** self.habits.follows
            pick = left[int(self.rng.choice(len(left), p=weights / weights.sum()))]
            if lesson.truth in left and self.rng.random() < self.habits.spots:
                pick = lesson.truth
            considered.append(pick)
            left.remove(pick)
        return considered

    def _sentence(self, attributes: Sequence[Attribute] | frozenset[Attribute] | set) -> str:
        """Attributes in words: "directed by A; starring B and C; Drama"."""
        values: dict[str, list[str]] = {}
        for relation, value in sorted(attributes):
            values.setdefault(relation, []).append(value)
        parts = [
            f"{phrases_of(relation)[0]} {' and '.join(values[relation][:_VALUES])}"
            for relation in dict.fromkeys((*RELATION_PHRASES, *values))
            if relation in values and phrases_of(relation)
        ]
        kinds = [kind for kind in dict.fromkeys((*KIND_RELATIONS, *values)) if is_kind(kind)]
        parts += [", ".join(values[kind]) for kind in kinds if kind in values]
        return "; ".join(parts)

    def _others(self, count: int, barred: frozenset[int]) -> list[int]:
        """Different items, uniformly, none of them barred; all there are in a small catalogue."""
        chosen: list[int] = []
        count = min(count, len(self._answerable) - len(self._answerable & barred))
        while len(chosen) < count:
            item = self._below(len(self.catalogue))
            if item not in barred and item not in chosen and item in self._answerable:
                chosen.append(item)
        return chosen

    def _below(self, bound: int) -> int:
        return int(self.rng.integers(bound))


def _is_told(attribute: Attribute) -> bool:
    """Whether there are words for its relation."""
    return bool(phrases_of(attribute[0])) or is_kind(attribute[0])
