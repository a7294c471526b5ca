"""Documents from which the sample's base policy learns what it knows.

Some are traces of the naive reasoner; the rest teach single skills with true answers: the facts
of an item, the need behind a query, whether an item fits a need, whether a person is among some,
copying from a list, and which item of a list fits. No document tells a held-out (need, item) pair.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

import numpy as np

from rerec_pipeline.configs import DocumentKind, Habits
from rerec_pipeline.recbench.documents import DOES_NOT_FIT, FITS, Document
from rerec_pipeline.sample.asks import Ask, Asker
from rerec_pipeline.sample.reasoner import Reasoner, naive_trace
from rerec_pipeline.sample.world import Item, Need, World

HeldOut = Collection[tuple[Hashable, int]]
"""(need key, item id) pairs that must not be told."""

#: Questions that the task never asks; they tell the skills from the task.
DESCRIBE, NEED, JUDGE = "Describe it.", "What is wanted?", "Does it fit?"
CHOOSE, RECITE = "Name one.", "Recite some."

#: Questions asked of one list in a session; many per list, because reading the list costs most.
_QUESTIONS_PER_LIST = 5

#: Titles of a list that are recited.
RECITED = 8


class CorpusWriter:
    """Writes documents about one world.

    Args:
        world: What to write about.
        prompt: Words a query and its candidate titles as the task does.
        heldout: Pairs that no document may tell.
        habits: How well the naive reasoner decides.
        seed: Everything random follows from it.
    """

    def __init__(
        self,
        world: World,
        prompt: Callable[[str, Sequence[str]], str],
        heldout: HeldOut,
        habits: Habits,
        seed: int,
    ):
        self.world = world
        self.prompt = prompt
        self.heldout = heldout
        self.habits = habits
        self.rng = np.random.default_rng(seed)
        self.asker = Asker(world, self.rng)
        self.reasoner = Reasoner(world)
        self._query_types = ["explicit", "implicit", "misinformed", "interest"]
        self._query_types += ["demographics"] if world.domain.profiles else []
        self._writers: Mapping[DocumentKind, Callable[[int], Document | None]] = {
            "facts": self._facts,
            "need": self._need,
            "judge": self._judge,
            "among": self._among,
            "recite": self._recite,
            "session": self._session,
            "trace": self._trace,
        }

    def allowed(self, need: Need, item: Item) -> bool:
        """Whether a document may tell that an item fits a need."""
        return (need.key, item.item_id) not in self.heldout

    def write(self, kind: DocumentKind, list_size: int) -> Document:
        """Writes one document.

        Args:
            kind: What it teaches.
            list_size: Candidates in its list, if it has one.
        """
        while True:
            document = self._writers[kind](list_size)
            if document is not None:
                return document

    # -- kinds ---------------------------------------------------------------------------

    def _facts(self, _: int) -> Document:
        item = self._any_item()
        facts = self.reasoner.facts(item, self.reasoner.all_relations())
        return Document("facts", ((f"{item.title}\n\n{DESCRIBE}", f"{item.title}: {facts}."),))

    def _need(self, _: int) -> Document | None:
        ask = self._ask_about(self._any_item())
        if ask is None:
            return None
        return Document("need", ((f"{ask.text}\n\n{NEED}", self.reasoner.need_line(ask.need)),))

    def _judge(self, _: int) -> Document | None:
        """A need and one item, half of the time a fitting one."""
        ask = self._ask_about(self._any_item())
        if ask is None:
            return None
        item = ask.truth if self.rng.random() < 0.5 else self._miss(ask.need)
        verdict = FITS if ask.need.fits(item) else DOES_NOT_FIT
        facts = self.reasoner.facts(item, self.reasoner.asked_relations(ask.need))
        question = f"{self.reasoner.need_line(ask.need)}\n{item.title}\n\n{JUDGE}"
        return Document("judge", ((question, f"{item.title}: {facts}. {verdict}"),))

    def _among(self, _: int) -> Document:
        """Whether a person is among a few: the comparison inside every verdict, by itself."""
        people = self.asker.people()
        few = [people[n] for n in self.rng.permutation(len(people))[: 2 + self._below(3)]]
        asked = few.pop() if self.rng.random() < 0.5 else few[self._below(len(few) - 1)]
        question = f"{asked}\n{' and '.join(few)}\n\n{JUDGE}"
        return Document("among", ((question, FITS if asked in few else DOES_NOT_FIT),))

    def _recite(self, size: int) -> Document:
        """Titles of a list, in any order: nothing but copying."""
        items = self._any_list(size)
        recited = [items[n].title for n in self.rng.permutation(size)[:RECITED]]
        question = f"{_listed(items)}\n\n{RECITE}"
        return Document("recite", ((question, "\n".join(recited)),))

    def _session(self, size: int) -> Document | None:
        """One list and several requests, each of which exactly one item of the list fits."""
        items = self._any_list(size)
        turns: list[tuple[str, str]] = []
        for _ in range(_QUESTIONS_PER_LIST):
            ask = self._ask_about(items[self._below(size)])
            if ask is not None and self._is_clear(ask, items):
                said = ask.text if turns else self.prompt(ask.text, [i.title for i in items])
                turns.append((f"{said}\n\n{CHOOSE}", _box(ask.truth)))
        return Document("session", tuple(turns)) if turns else None

    def _trace(self, size: int) -> Document | None:
        ask = self._ask_about(self._any_item())
        if ask is None:
            return None
        candidates = self._candidates(ask, size)
        text = naive_trace(
            self.reasoner,
            self._understood(ask),
            ask.truth,
            candidates,
            self.habits,
            self.allowed,
            self.rng,
        )
        return Document("trace", ((self.prompt(ask.text, [i.title for i in candidates]), text),))

    # -- parts ---------------------------------------------------------------------------

    def _ask_about(self, item: Item) -> Ask | None:
        """A request that the item is right for, if that may be told."""
        query_type = self._query_types[self._below(len(self._query_types))]
        ask = self.asker.about(item, query_type, 1 + self._below(2))
        return ask if ask is not None and self.allowed(ask.need, item) else None

    @staticmethod
    def _is_clear(ask: Ask, items: Sequence[Item]) -> bool:
        """Whether exactly one item of a list fits, and none of them is named in the request."""
        return sum(ask.need.fits(item) for item in items) == 1 and not any(
            anchor in items for anchor in ask.anchors
        )

    def _candidates(self, ask: Ask, size: int) -> list[Item]:
        """The right item among others that do not fit, some of them nearly."""
        chosen = [ask.truth]
        while len(chosen) < size:
            item = self._miss(ask.need)
            if item not in chosen and item not in ask.anchors:
                chosen.append(item)
        return [chosen[n] for n in self.rng.permutation(size)]

    def _miss(self, need: Need) -> Item:
        """An item that does not fit; one in three has something of what is asked."""
        near = self.rng.random() < 1 / 3
        for _ in range(50):
            item = self._any_item()
            part = item.taste == need.taste or any(c in item.attributes for c in need.conditions)
            if not need.fits(item) and (part or not near):
                return item
        return self._miss(need)

    def _understood(self, ask: Ask) -> Need:
        """The need as the naive reasoner understands it: it may be misled or misread."""
        if ask.query_type == "misinformed" and self.rng.random() < self.habits.misled:
            return self._with_person(ask, ask.wrong_person)
        if ask.query_type == "implicit" and self.rng.random() < self.habits.misreads:
            return self._with_person(ask, None)
        return ask.need

    def _with_person(self, ask: Ask, person: str | None) -> Need:
        relation, right = self.asker.person_condition(ask.need.conditions)
        person = person or self.asker.other_person(ask.need.conditions, ask.anchors)
        return Need(
            tuple(
                (relation, person) if condition == (relation, right) else condition
                for condition in ask.need.conditions
            )
        )

    def _any_item(self) -> Item:
        return self.world.items[self._below(len(self.world.items))]

    def _any_list(self, size: int) -> list[Item]:
        picked = self.rng.choice(len(self.world.items), size=size, replace=False)
        return [self.world.items[n] for n in picked]

    def _below(self, n: int) -> int:
        return int(self.rng.integers(n))


def _listed(items: Sequence[Item]) -> str:
    return "\n".join(item.title for item in items)


def _box(item: Item) -> str:
    return f"\\boxed{{{item.title}}}"
