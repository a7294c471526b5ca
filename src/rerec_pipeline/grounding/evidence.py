"""Which facts of an item touch a request, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.links import Links
from rerec_pipeline.recbench.relations import plain_name

#: Ways in which an attribute is touched by a request -> weight in the first stage.
#: ``near`` and ``free``: the request's words speak of the attribute's relation, beside the value
#: or by themselves.
ASPECTS: dict[str, float] = {
    "said_near": 3.0,  # its value is named, beside a word for its relation
    "said_cued": 2.5,  # its value is named, and its relation is spoken of elsewhere
    "said_other": 1.5,  # its value is named
    "kind": 0.7,  # a kind that is spoken of
    "refuted": 0.3,  # its value is named in a claim that the graph contradicts, or is not wanted
    "instead": 3.0,  # what the graph says in place of such a claim
    "shared_free": 4.0,  # several named items have it, and its relation is spoken of
    "shared_other": 1.5,  # several named items have it
    "held_free": 1.0,  # one named item has it, and its relation is spoken of
    "held_other": 0.3,  # one named item has it
    "kind_held": 0.05,  # a kind of a named item
}
ASPECT_NAMES = tuple(ASPECTS)


@dataclass(frozen=True)
class TouchedAttribute:
    """An attribute (by number) that a request touches, in which way and through which items."""

    attribute: int
    aspect: str
    through: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reason:
    """A fact of an item that touches a request, and why.

    Attributes:
        fact: (relation, value) of the item.
        aspect: One of ``ASPECTS``.
        through: Indices of the named items that have it, too; of ``instead``, of the item about
            which the request is wrong.
    """

    fact: Attribute
    aspect: str
    through: tuple[int, ...] = ()


def touches(links: Links, facts: Facts) -> list[TouchedAttribute]:
    """The attributes that a request touches, each in the way that weighs most.

    A name that stands in a claim which the graph contradicts is ``refuted`` wherever it stands:
    whoever liked "the direction of X by P", where Q directed X, wants films of Q's. So is what
    the request does not want, also where an item that it names has it.
    """
    denied = {
        attribute
        for value in links.values
        if value.denied
        for attribute in value.attributes
        if facts.attributes[attribute][0] in value.relations or not value.relations
    }
    wrong = {claim.value for claim in links.claims if claim.status == "contradicted"}
    found: dict[int, TouchedAttribute] = {}
    for given in _all_touches(links, facts):
        said = given.aspect.startswith("said")
        stands = said and plain_name(facts.attributes[given.attribute][1]) in wrong
        refuted = stands or given.attribute in denied
        touch = TouchedAttribute(given.attribute, "refuted") if refuted else given
        known = found.get(touch.attribute)
        if known is None or ASPECTS[touch.aspect] > ASPECTS[known.aspect]:
            found[touch.attribute] = touch
    return list(found.values())


def explain(links: Links, item: int, facts: Facts) -> list[Reason]:
    """The facts of an item that touch a request, what weighs most first.

    Args:
        links: What the request is about.
        item: Index of the item.
        facts: The attribute graph.
    """
    has = set(facts.of_item(item).tolist())
    found = [touch for touch in touches(links, facts) if touch.attribute in has]
    found.sort(key=lambda t: (-ASPECTS[t.aspect] * facts.rarity[t.attribute], t.attribute))
    return [
        Reason(facts.attributes[t.attribute], t.aspect, tuple(i for i in t.through if i != item))
        for t in found
    ]


def _all_touches(links: Links, facts: Facts) -> Iterator[TouchedAttribute]:
    for value in links.values:
        for attribute in value.attributes:
            relation = facts.attributes[attribute][0]
            if value.denied and value.relations and relation not in value.relations:
                continue
            if relation in value.relations:
                yield TouchedAttribute(attribute, "said_near")
            else:
                yield TouchedAttribute(
                    attribute, "said_cued" if relation in links.cues else "said_other"
                )
    for attribute in links.kinds:
        yield TouchedAttribute(attribute, "kind")
    for claim in links.claims:
        if claim.status == "contradicted":
            for right in claim.instead:
                yield TouchedAttribute(
                    facts.number[claim.relation, right], "instead", (claim.item,)
                )
    yield from _held(links, facts)


def _held(links: Links, facts: Facts) -> Iterator[TouchedAttribute]:
    holders: dict[int, dict[int, int]] = {}  # attribute -> mention -> an item that it may mean
    for n, mention in enumerate(links.named):
        for item in mention.items:
            for attribute in facts.of_item(item).tolist():
                holders.setdefault(attribute, {}).setdefault(n, item)
    for attribute, items in holders.items():
        through = tuple(dict.fromkeys(items.values()))
        if facts.is_kind[attribute]:
            yield TouchedAttribute(attribute, "kind_held", through)
            continue
        spoken = facts.attributes[attribute][0] in links.free_cues
        way = "shared" if len(through) > 1 else "held"
        yield TouchedAttribute(attribute, f"{way}_{'free' if spoken else 'other'}", through)
