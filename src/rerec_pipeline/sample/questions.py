"""Questions about a fabricated world that are not the task: what a policy could do before.

They are asked in the forms of the base policy's own documents and in no other, so that what they
measure is whether it still knows, still follows an instruction and still judges, not whether it
understands a new wording.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.recbench.documents import DOES_NOT_FIT, FITS
from rerec_pipeline.sample.asks import Asker
from rerec_pipeline.sample.corpus import DESCRIBE, JUDGE, NEED, RECITE, RECITED
from rerec_pipeline.sample.reasoner import Reasoner
from rerec_pipeline.sample.world import Item, Need, World

T = TypeVar("T")

#: One question with what tells whether it was answered rightly, as a task file reads it.
Question = dict[str, Any]

#: Answers that a question of knowledge offers.
_CHOICES = 4

#: Length of the lists that are to be recited: that of the candidates in the base policy's reading.
_LISTED = 20


class QuestionWriter:
    """Writes questions about one world; the same arguments write the same questions.

    Args:
        world: What to ask about.
        asked: (conditions as a frozenset, right item id) pairs to ask verdicts on, such as those
            that no document told; keys of another kind are passed over.
        size: Most questions of a task.
        seed: Everything random follows from it.
    """

    def __init__(self, world: World, asked: Collection[tuple[Hashable, int]], size: int, seed: int):
        self.world, self.asked, self.size = world, asked, size
        self.reasoner = Reasoner(world)
        self.rng = np.random.default_rng(seed)

    def write(self) -> dict[str, list[Question]]:
        """All questions, by the name of the task that asks them."""
        return {
            "sample_knowledge": self._some(list(self._knowledge())),
            "sample_instructions": self._some(list(self._instructions())),
            "sample_reasoning": self._some(list(self._reasoning())),
        }

    # -- knowledge: who directed it? -----------------------------------------------------

    def _knowledge(self) -> Iterator[Question]:
        """Which description of an item is true: one that is, three that are of other items."""
        relations = self.reasoner.all_relations()
        for item in self.world.items:
            for n, relation in enumerate(relations):
                known = self.reasoner.facts(item, relations[:n])
                begin = f"{item.title}: {known}; " if known else f"{item.title}: "
                others = self._other_values(item, relation)
                choices = [self.reasoner.facts(one, [relation]) for one in [item, *others]]
                order = self.rng.permutation(len(choices))
                yield {
                    "question": f"{item.title}\n\n{DESCRIBE}",
                    "choices": [begin + choices[k] for k in order],
                    "answer": int(np.flatnonzero(order == 0)[0]),
                }

    def _other_values(self, item: Item, relation: str) -> list[Item]:
        """Items that differ in a relation from an item and from each other."""
        chosen: list[Item] = []
        told = [item.values(relation)]
        for n in self.rng.permutation(len(self.world.items)):
            other = self.world.items[n]
            if other.values(relation) not in told:
                chosen.append(other)
                told.append(other.values(relation))
            if len(chosen) == _CHOICES - 1:
                break
        return chosen

    # -- instructions: does it do what it is told? ---------------------------------------

    def _instructions(self) -> Iterator[Question]:
        """Four instructions, each as often, and the form that an answer to each must have.

        What is said in that form is not judged here; that is for the other two tasks.
        """
        asker = Asker(self.world, self.rng)
        facts = "; ".join(self._fact_form(r) for r in self.reasoner.all_relations())
        for _ in range(-(-self.size // 4)):
            item = self._any_item()
            title = re.escape(item.title)
            need = Need((self._pick(self._people(item)),))
            yield _instruction(f"{item.title}\n\n{DESCRIBE}", rf"{title}: {facts}\.")
            yield self._recitation()
            said = asker.speaker.explicit(need.conditions)
            yield _instruction(f"{said}\n\n{NEED}", r"Wanted: [^\n]+\.")
            verdict = f"({re.escape(FITS)}|{re.escape(DOES_NOT_FIT)})"
            yield _instruction(self._verdict_question(need, item), rf"{title}: [^\n]+\. {verdict}")

    def _fact_form(self, relation: str) -> str:
        """What a fact of a relation looks like, whatever its values are."""
        return self.reasoner.announcement(relation) + r"[^;\n]+"

    def _recitation(self) -> Question:
        """As many titles of a list as it was taught to recite, in any order.

        One may stand twice: where any order is right, the likeliest title stays the likeliest.
        """
        picked = self.rng.choice(len(self.world.items), size=_LISTED, replace=False)
        titles = [self.world.items[n].title for n in picked]
        one = f"({'|'.join(re.escape(title) for title in titles)})"
        listed = "\n".join(titles)
        return _instruction(f"{listed}\n\n{RECITE}", rf"{one}(\n{one}){{{RECITED - 1}}}")

    # -- reasoning: does it fit? ---------------------------------------------------------

    def _reasoning(self) -> Iterator[Question]:
        """A need, and an item that fits it or nearly does, each as often."""
        pairs = sorted(
            (sorted(key), item_id) for key, item_id in self.asked if isinstance(key, frozenset)
        )
        items = {item.item_id: item for item in self.world.items}
        for n, (conditions, item_id) in enumerate(pairs[k] for k in self._shuffled(len(pairs))):
            need = Need(tuple(conditions))
            item = items[item_id] if n % 2 == 0 else self._near_miss(need)
            verdict = FITS if need.fits(item) else DOES_NOT_FIT
            yield {"question": self._verdict_question(need, item), "verdict": verdict}

    def _near_miss(self, need: Need) -> Item:
        """An item that does not fit, with a part of what is asked where there is one."""
        misses = [item for item in self.world.items if not need.fits(item)]
        near = [item for item in misses if set(need.conditions) & item.attributes]
        return self._pick(near or misses)

    def _verdict_question(self, need: Need, item: Item) -> str:
        return f"{self.reasoner.need_line(need)}\n{item.title}\n\n{JUDGE}"

    # -- draws ---------------------------------------------------------------------------

    def _some(self, questions: list[Question]) -> list[Question]:
        return [questions[n] for n in self._shuffled(len(questions))[: self.size]]

    def _any_item(self) -> Item:
        return self._pick(self.world.items)

    def _people(self, item: Item) -> list[Attribute]:
        """An item's attributes that are people: what requests with one condition ask for."""
        people = self.world.domain.people
        return sorted(attribute for attribute in item.attributes if attribute[0] in people)

    def _pick(self, options: tuple[T, ...] | list[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def _shuffled(self, count: int) -> list[int]:
        return [int(n) for n in self.rng.permutation(count)]


def _instruction(question: str, form: str) -> Question:
    return {"question": question, "form": form}


def followed(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
    """Whether an instruction was followed: the whole answer has the form that was asked for.

    The signature is that of ``process_results`` in a task file of lm-evaluation-harness.

    Args:
        doc: A question with its ``form``, a regular expression.
        results: The answer, alone in a list.

    Returns:
        ``followed``: 1 or 0.
    """
    return {"followed": float(re.fullmatch(doc["form"], results[0]) is not None)}
