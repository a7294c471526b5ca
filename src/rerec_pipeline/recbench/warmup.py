"""Documents that warm up a model made from scratch: facts, copying, and reasoning from evidence.

Real titles and facts of the attribute graph, fabricated requests; no query of the benchmark is in
them. A request asks for one or two attributes of an item, or for what it shares with one or two
that are named; it may be mistaken in what it says of one. The prompt is worded as the policy's will
be, with the same evidence (none, where prompts show none), and the reasoning is true: what is to be
learned is to find the candidate whose facts are those that were asked for, and to copy them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import Attribute, AttributeGraph
from rerec_pipeline.recbench.documents import Document
from rerec_pipeline.recbench.needs import NeedReader
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.relations import (
    KIND_RELATIONS,
    RELATION_PHRASES,
    is_kind,
    phrases_of,
    plain_name,
)
from rerec_pipeline.recbench.task import Example
from rerec_pipeline.recbench.titles import ItemIndex

WarmupKind = Literal["facts", "recite", "reasoning"]
WARMUP_KINDS: tuple[WarmupKind, ...] = get_args(WarmupKind)

#: Questions that the task never asks; they tell the skills from the task.
DESCRIBE, RECITE = "Describe it.", "Recite some."
#: Wordings of fabricated requests for attributes.
_REQUESTS = (
    "I'm looking for something {need}.",
    "Can you recommend a title {need}?",
    "I'd like one {need}, please.",
    "Do you know anything {need}?",
)
#: Wordings of fabricated requests for what an item has in common with those that are named.
_LIKE = (
    "I enjoyed {named}. What else is there {phrase} the same name?",
    "After {named}, I'd like another one that is {phrase} the same as there.",
    "I recently watched {named} and want to see more that is {phrase} whoever did it there.",
)
#: What such a request may ask for besides.
_BESIDES = " If it is {need}, all the better."
_RECITED = 6
#: Values of one relation that a fact sentence names at most.
_VALUES = 3
#: Candidates that have a part of what is asked for.
_NEAR = 2


@dataclass(frozen=True)
class Request:
    """A fabricated request.

    Attributes:
        text: What the user says.
        need: What is asked for.
        truth: The right candidate, an item index.
        barred: Items that must not be listed beside it (right ones, named ones).
    """

    text: str
    need: frozenset[Attribute]
    truth: int
    barred: frozenset[int]


def held_out_facts(
    queries: Sequence[Query],
    examples: Sequence[Example],
    splits: Sequence[str],
    reader: NeedReader,
) -> frozenset[tuple[Attribute, int]]:
    """(Attribute, item index) pairs that validation and test queries plausibly ask for.

    Args:
        queries: The queries, N.
        examples: What the policy is asked in each, N.
        splits: The split of each, N.
        reader: Infers needs.
    """
    heldout: set[tuple[Attribute, int]] = set()
    for query, example, split in zip(queries, examples, splits, strict=True):
        if split != "train":
            asked = reader.plausible_conditions(query, example.mentioned)
            right = reader.catalogue.indices(query.truth_ids)
            heldout |= {(attribute, item) for attribute in asked for item in right}
    return frozenset(heldout)


class WarmupWriter:
    """Writes documents about one data set.

    Args:
        catalogue: All items.
        graph: The attribute graph over them.
        heldout: (attribute, item index) pairs of which no request is made.
        prompt: Words a request and its candidates (item indices) as the task does.
        reason: Writes true reasoning about a request, its candidates and the right one.
        seed: Everything random follows from it.
    """

    def __init__(
        self,
        catalogue: ItemIndex,
        graph: AttributeGraph,
        heldout: frozenset[tuple[Attribute, int]],
        prompt: Callable[[str, Sequence[int]], str],
        reason: Callable[[str, Sequence[int], int], str],
        seed: int,
    ):
        self.catalogue, self.graph, self.heldout = catalogue, graph, heldout
        self.prompt, self.reason = prompt, reason
        self.rng = np.random.default_rng(seed)
        self._told = [a for a in graph.attributes if _is_told(a)]
        self._by_relation: dict[str, list[Attribute]] = {}
        for attribute in graph.attributes:
            self._by_relation.setdefault(attribute[0], []).append(attribute)
        self._answerable = {n for n in range(len(catalogue)) if catalogue.is_answerable(n)}
        self._described = [n for n in range(len(catalogue)) if graph.attributes_of(n)]
        self._writers: Mapping[str, Callable[[int], Document]] = {
            "facts": self._facts,
            "recite": self._recite,
            "reasoning": self._reasoning,
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
        """Titles of a list, or facts, in any order: nothing but copying.

        Facts are drawn without regard to how many items have them: the name of a single item has
        to be copied as well as any other.
        """
        if self._told and self._below(2):
            drawn = (self._told[self._below(len(self._told))] for _ in range(size))
            lines = list(dict.fromkeys(self._sentence([fact]) for fact in drawn))
        else:
            lines = [self.catalogue.titles[n] for n in self._others(size, frozenset())]
        recited = [lines[n] for n in self.rng.permutation(len(lines))[:_RECITED]]
        listed = "\n".join(lines)
        return Document("recite", ((f"{listed}\n\n{RECITE}", "\n".join(recited)),))

    def _reasoning(self, size: int) -> Document:
        """A fabricated request, and true reasoning about it."""
        item, need = self._drawn()
        request = self._request_like(item, need) if self._below(2) else None
        request = request or self._request_for(item, need)
        listed = self._listed(request, size)
        reasoning = self.reason(request.text, listed, item)
        return Document("reasoning", ((self.prompt(request.text, listed), reasoning),))

    # -- requests ------------------------------------------------------------------------

    def _drawn(self) -> tuple[int, frozenset[Attribute]]:
        """An item, and one or two of its attributes that may be asked for."""
        if not self._may_ask:
            raise BadInputError(
                "attribute graph", "validation and test queries ask for every fact of it",
                remedy="A model from scratch needs more items or facts; use a pretrained backbone",
            )  # fmt: skip
        while True:
            item = self._described[self._below(len(self._described))]
            free = self._free(item)
            if free:
                chosen = self.rng.permutation(len(free))[: 1 + self._below(2)]
                return item, frozenset(free[n] for n in chosen)

    def _free(self, item: int) -> list[Attribute]:
        """Attributes of an item that may be asked for."""
        held = sorted(self.graph.attributes_of(item))
        return [a for a in held if _is_told(a) and (a, item) not in self.heldout]

    @cached_property
    def _may_ask(self) -> bool:
        return any(self._free(item) for item in self._described)

    def _request_for(self, item: int, need: frozenset[Attribute]) -> Request:
        text = _REQUESTS[self._below(len(_REQUESTS))].format(need=self._sentence(need))
        return Request(text, need, item, self._having(need))

    def _request_like(self, item: int, need: frozenset[Attribute]) -> Request | None:
        """A request for what an item shares with one or two others; None where none has it.

        Items that have anything else of this kind that those named share are barred: they would
        be right as well.
        """
        shared = min((a for a in need if not is_kind(a[0])), default=None)
        others = sorted(self._having([shared]) - {item}) if shared else []
        if not shared or not others:
            return None
        relation = shared[0]
        named = [others[n] for n in self.rng.permutation(len(others))[: 1 + self._below(2)]]
        titles = " and ".join(self.catalogue.titles[n] for n in named)
        if len(named) == 1 and not self._below(2):
            titles += self._mistake(named[0], relation)
        text = _LIKE[self._below(len(_LIKE))].format(named=titles, phrase=phrases_of(relation)[0])
        if need - {shared}:
            text += _BESIDES.format(need=self._sentence(need - {shared}))
        held = frozenset.intersection(*(frozenset(self.graph.attributes_of(n)) for n in named))
        alike = [self._having([a]) for a in held if a[0] == relation]
        return Request(text, need, item, frozenset(named).union(*alike))

    def _mistake(self, item: int, relation: str) -> str:
        """What a request says of an item that is not so: ", directed by B"."""
        held = self.graph.attributes_of(item)
        wrong = [a for a in self._by_relation[relation] if a not in held]
        return f", {self._sentence([wrong[self._below(len(wrong))]])}" if wrong else ""

    def _having(self, need: Iterable[Attribute]) -> frozenset[int]:
        return frozenset(self.graph.satisfying(need).tolist())

    # -- parts ---------------------------------------------------------------------------

    def _listed(self, request: Request, size: int) -> list[int]:
        """Candidates in any order: the right one, some that have a part of the need, others."""
        part = frozenset[int]().union(*(self._having([a]) for a in request.need))
        near = sorted((part - request.barred) & self._answerable)
        chosen = [near[n] for n in self.rng.permutation(len(near))[: min(_NEAR, size - 1)]]
        known = dict.fromkeys([request.truth, *chosen])
        others = self._others(size - len(known), request.barred | set(known))
        candidates = [*known, *others]
        return [candidates[n] for n in self.rng.permutation(len(candidates))]

    def _sentence(self, attributes: Iterable[Attribute]) -> str:
        """Attributes in words: "directed by A; starring B and C; Drama"."""
        values: dict[str, list[str]] = {}
        for relation, value in sorted(attributes):
            values.setdefault(relation, []).append(plain_name(value))
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
