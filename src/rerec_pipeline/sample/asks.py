"""Drawing requests from a fabricated world: who asks for what, and in which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.sample.wording import Speaker
from rerec_pipeline.sample.world import Item, Need, World

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        query_type: One of the published query types.
        text: What the user says.
        need: What the user means.
        truth: The item the request was made from; it fits the need.
        user_id: Whose history the item is from.
        anchors: Items the text names.
        wrong_person: Whom a misinformed user names instead of the right person.
    """

    query_type: str
    text: str
    need: Need
    truth: Item
    user_id: int
    anchors: tuple[Item, ...] = ()
    wrong_person: str | None = None


class Asker:
    """Draws requests of every type.

    Args:
        world: The world to ask about.
        rng: Source of everything random.
    """

    def __init__(self, world: World, rng: np.random.Generator):
        self.world = world
        self.rng = rng
        self.speaker = Speaker(world.domain.noun, world.domain.kind_relation, rng)
        self.items = {item.item_id: item for item in world.items}
        self._by_taste: dict[int, list[Item]] = {}
        self._by_attribute: dict[Attribute, list[Item]] = {}
        for item in world.items:
            self._by_taste.setdefault(item.taste, []).append(item)
            for attribute in sorted(item.attributes):
                self._by_attribute.setdefault(attribute, []).append(item)
        self._people = {
            relation: sorted({value for r, value in self._by_attribute if r == relation})
            for relation in world.domain.people
        }

    def people(self) -> list[str]:
        """Everyone in the world, once."""
        return sorted({name for names in self._people.values() for name in names})

    def ask(self, query_type: str, n_conditions: int = 1) -> Ask | None:
        """Draws one request from what a user has seen; None where the item does not lend itself.

        Args:
            query_type: One of the published query types.
            n_conditions: 1 or 2, for the condition-based types.
        """
        user_id, item_id, _, _ = self.world.ratings[self._below(len(self.world.ratings))]
        return self.about(self.items[item_id], query_type, n_conditions, user_id)

    def about(
        self, item: Item, query_type: str, n_conditions: int = 1, user_id: int = 0
    ) -> Ask | None:
        """Draws one request that an item is right for; None where it does not lend itself."""
        if query_type == "explicit":
            need = Need(self._conditions(item, n_conditions))
            return Ask("explicit", self.speaker.explicit(need.conditions), need, item, user_id)
        if query_type == "interest":
            return self._interest(item, user_id)
        if query_type == "demographics":
            groups = [g for g, taste in self.world.group_tastes.items() if taste == item.taste]
            return self.demographics(self._pick(groups), item) if groups else None
        return self._pointed(query_type, user_id, item, n_conditions)

    def demographics(self, group: str, item: Item | None = None) -> Ask:
        """Draws a request for what a demographic group likes."""
        item = item or self._pick(self._by_taste[self.world.group_tastes[group]])
        kind = self._pick(self._kinds(item))
        need = Need((kind,), item.taste, ("group", group))
        return Ask("demographics", self.speaker.demographics(group, kind[1]), need, item, 0)

    # -- the other types -----------------------------------------------------------------

    def _pointed(self, query_type: str, user_id: int, item: Item, count: int) -> Ask | None:
        """Implicit and misinformed: a person is pointed at through other items."""
        need = Need(self._conditions(item, count, one_person=True))
        anchors = self._anchors(item, need.conditions)
        if not anchors:
            return None
        titles = [anchor.title for anchor in anchors]
        if query_type == "implicit":
            text = self.speaker.implicit(need.conditions, titles)
            return Ask("implicit", text, need, item, user_id, anchors)
        wrong = self.other_person(need.conditions, anchors)
        text = self.speaker.misinformed(need.conditions, titles, wrong)
        return Ask("misinformed", text, need, item, user_id, anchors, wrong)

    def _interest(self, item: Item, user_id: int) -> Ask:
        """A request by taste alone: the item is liked by fans of another one."""
        anchor = self._pick([i for i in self._by_taste[item.taste] if i != item])
        kind = self._pick(self._kinds(item))
        need = Need((kind,), item.taste, ("fans", anchor.title))
        text = self.speaker.interest(anchor.title, kind[1])
        return Ask("interest", text, need, item, user_id, (anchor,))

    # -- draws ---------------------------------------------------------------------------

    def _conditions(
        self, item: Item, count: int, one_person: bool = False
    ) -> tuple[Attribute, ...]:
        """Attributes of the item: a person first, then a kind or (often) a second person."""
        people = sorted(a for a in item.attributes if a[0] != self.world.domain.kind_relation)
        people = [people[i] for i in self.rng.permutation(len(people))]
        if count == 1:
            return (people[0],)
        second_person = not one_person and len(people) > 1 and self.rng.random() < 0.4
        return (people[0], people[1] if second_person else self._pick(self._kinds(item)))

    def person_condition(self, conditions: tuple[Attribute, ...]) -> Attribute:
        """The first condition that asks for a person."""
        return next(c for c in conditions if c[0] != self.world.domain.kind_relation)

    def _anchors(self, truth: Item, conditions: tuple[Attribute, ...]) -> tuple[Item, ...]:
        """Other items that point at the person: one, or two who share just that one person."""
        relation, person = self.person_condition(conditions)
        others = [i for i in self._by_attribute[relation, person] if i != truth]
        needed = self.world.domain.people[relation]
        if len(others) < needed:
            return ()
        picked = tuple(others[i] for i in self.rng.permutation(len(others))[:needed])
        shared = set.intersection(*(set(item.values(relation)) for item in picked))
        return picked if shared == {person} else ()

    def other_person(self, conditions: tuple[Attribute, ...], anchors: tuple[Item, ...]) -> str:
        """Somebody in the same relation who worked on none of the anchors."""
        relation, _ = self.person_condition(conditions)
        involved = {value for item in anchors for value in item.values(relation)}
        while (person := self._pick(self._people[relation])) in involved:
            pass
        return person

    def _kinds(self, item: Item) -> list[Attribute]:
        relation = self.world.domain.kind_relation
        return [(relation, value) for value in item.values(relation)]

    def _pick(self, options: Sequence[T]) -> T:
        return options[self._below(len(options))]

    def _below(self, n: int) -> int:
        return int(self.rng.integers(n))
