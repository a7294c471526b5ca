"""The naive reasoner of the fabricated worlds: true facts, weak decisions.

Its traces are what the sample's base policy is pretrained on. It restates the need, looks at a
few candidates with true facts and mostly true verdicts, and then often answers something else:
it knows, but it does not decide. Reinforcement fine-tuning has to teach the deciding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rerec_pipeline.configs import Habits
from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.recbench.documents import DOES_NOT_FIT, FITS
from rerec_pipeline.recbench.titles import natural_order
from rerec_pipeline.sample.world import Domain, Item, Need, World

_ANNOUNCE = {"Directed_by": "directed by", "Starring": "starring", "Written_by": "written by"}


class Reasoner:
    """Writes needs, facts and verdicts; the reader of statements understands these sentences.

    Args:
        world: The world whose facts are stated.
    """

    def __init__(self, world: World):
        self.world = world
        self.domain: Domain = world.domain

    def need_line(self, need: Need) -> str:
        """First paragraph of a trace: the need in the reasoner's own words."""
        parts = [self._attribute(a) for a in sorted(need.conditions)]
        if need.source is not None:
            kind, name = need.source
            known = natural_order(name) if kind == "fans" else name
            parts.append(f"liked by fans of {known}" if kind == "fans" else f"popular with {known}")
        return f"Wanted: {'; '.join(parts)}."

    def facts(self, item: Item, relations: Sequence[str]) -> str:
        """True facts of an item in some relations, e.g. "directed by A; starring B and C"."""
        parts = []
        for relation in relations:
            values = item.values(relation)
            if relation == self.domain.kind_relation:
                parts.append(", ".join(values))
            else:
                parts.append(f"{self.announcement(relation)}{' and '.join(values)}")
        return "; ".join(parts)

    def announcement(self, relation: str) -> str:
        """What stands before the values of a relation; nothing before kinds."""
        return "" if relation == self.domain.kind_relation else f"{_ANNOUNCE[relation]} "

    def all_relations(self) -> list[str]:
        """The domain's relations, people first."""
        return [*self.domain.people, self.domain.kind_relation]

    def asked_relations(self, need: Need) -> list[str]:
        """The relations a need asks about, in the domain's order."""
        asked = {relation for relation, _ in need.conditions}
        return [relation for relation in self.all_relations() if relation in asked]

    def consideration(self, item: Item, need: Need, verdict: bool) -> str:
        """One paragraph about one candidate: its facts and whether it fits."""
        facts = self.facts(item, self.asked_relations(need))
        return f"{item.title}: {facts}. {FITS if verdict else DOES_NOT_FIT}"

    def _attribute(self, attribute: Attribute) -> str:
        relation, value = attribute
        if relation == self.domain.kind_relation:
            return value
        return f"{_ANNOUNCE[relation]} {value}"


def phrases_of(world: World) -> list[str]:
    """Everything in a world that is worth a token of its own."""
    titles = [item.title for item in world.items]
    values = {value for item in world.items for _, value in item.attributes}
    announced = [f"{phrase} " for phrase in _ANNOUNCE.values()]
    stock = [FITS, DOES_NOT_FIT, "Wanted: ", "\\boxed{", "liked by fans of ", "popular with "]
    return [
        *titles,
        *map(natural_order, titles),
        *sorted(values),
        *world.group_tastes,
        *announced,
        *(f" {phrase}" for phrase in announced),
        *stock,
        *("; ", " and ", ", ", ": ", ". "),
    ]


def naive_trace(
    reasoner: Reasoner,
    need: Need,
    truth: Item,
    candidates: Sequence[Item],
    habits: Habits,
    allowed: Callable[[Need, Item], bool],
    rng: np.random.Generator,
) -> str:
    """Writes one trace of the naive reasoner.

    Args:
        reasoner: Writer of the sentences.
        need: The need as the reasoner understood it; it may have understood another one.
        truth: The right item of the query.
        candidates: The list it chooses from.
        habits: How well it decides.
        allowed: Whether a trace may state that an item fits a need; of held-out pairs it may not.
        rng: Random numbers of its choices.
    """
    considered = _look(need, truth, candidates, habits, allowed, rng)
    verdicts = [need.fits(c) == (rng.random() < habits.true_verdicts) for c in considered]
    fitting = [c for c, verdict in zip(considered, verdicts, strict=True) if verdict]
    if fitting and rng.random() < habits.commits:
        answer = fitting[int(rng.integers(len(fitting)))]
    else:
        answer = considered[int(rng.integers(len(considered)))]
    lines = [reasoner.need_line(need)]
    lines += [reasoner.consideration(c, need, v) for c, v in zip(considered, verdicts, strict=True)]
    return "\n".join([*lines, f"\\boxed{{{answer.title}}}"])


def _look(
    need: Need,
    truth: Item,
    candidates: Sequence[Item],
    habits: Habits,
    allowed: Callable[[Need, Item], bool],
    rng: np.random.Generator,
) -> list[Item]:
    """Which candidates are considered, in order."""
    left = [c for c in candidates if not need.fits(c) or allowed(need, c)]
    looks = min(len(left), 1 + min(4, int(rng.poisson(habits.looks - 1))))
    considered: list[Item] = []
    for _ in range(looks):
        weights = np.array([c.popularity for c in left], dtype=float) ** habits.follows
        pick = left[int(rng.choice(len(left), p=weights / weights.sum()))]
        if truth in left and rng.random() < habits.spots:
            pick = truth
        considered.append(pick)
        left.remove(pick)
    return considered
