"""Evidence in words: one short phrase for what a fact has to do with a request.

It is made from the request and the graph alone, never from a right answer or from a record's
conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rerec_pipeline.grounding.evidence import Reason, explain
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.links import Claim, Links
from rerec_pipeline.recbench.relations import RELATION_PHRASES, is_kind, plain_name
from rerec_pipeline.recbench.task import Evidence, PromptWording
from rerec_pipeline.recbench.titles import natural_order, split_year


def gather_evidence(
    links: Links,
    facts: Facts,
    candidates: Sequence[int],
    titles: Sequence[str],
    most: int,
    words: int,
) -> Evidence:
    """The facts of candidates that touch a request, and what the request gets right and wrong.

    Args:
        links: What the request is about.
        facts: The attribute graph.
        candidates: Item indices.
        titles: Titles of all items.
        most: Most facts of a candidate, those that weigh most.
        words: Most words of all evidence. Where there are more, every candidate gets fewer facts,
            so that none is favoured by its place in the list.
    """
    if most == 0:
        return Evidence()
    claims = [c for c in links.claims if c.status != "unknown"]
    known = tuple(dict.fromkeys(say_claim(claim, titles) for claim in claims))
    said = {item: _phrases(explain(links, item, facts), titles) for item in candidates}
    for count in range(most, -1, -1):
        of_items = {item: phrases[:count] for item, phrases in said.items() if phrases[:count]}
        if count == 0 or _words([*known, *(p for row in of_items.values() for p in row)]) <= words:
            break
    return Evidence(of_items, known if _words(known) <= words else ())


def evidence_gatherer(
    linker: Linker, wording: PromptWording
) -> Callable[[str, Sequence[int]], Evidence]:
    """What gathers the evidence of a request about candidates, as prompts of a wording show it."""
    return lambda text, candidates: gather_evidence(
        linker.link(text), linker.facts, candidates, linker.catalogue.titles, wording.evidence,
        wording.evidence_words,
    )  # fmt: skip


def _phrases(reasons: Iterable[Reason], titles: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(say_reason(reason, titles) for reason in reasons))


def _words(phrases: Iterable[str]) -> int:
    return sum(len(phrase.split()) for phrase in phrases)


def say_fact(relation: str, value: str) -> str:
    """A fact as reasoning states it: ``directed by Spike Lee``; a kind alone: ``Drama``."""
    name = plain_name(value)
    if is_kind(relation):
        return name
    phrase = RELATION_PHRASES.get(relation, (relation.replace("_", " ").lower(),))[0]
    return f"{phrase} {name}"


def say_reason(reason: Reason, titles: Sequence[str]) -> str:
    """A fact with the named items that share it: ``directed by Spike Lee, as Girl 6 was``.

    Args:
        reason: What the fact has to do with the request.
        titles: Titles of all items.
    """
    fact = say_fact(*reason.fact)
    if not reason.through:
        return fact
    names = " and ".join(short_title(titles[item]) for item in reason.through[:2])
    verb = "was" if len(reason.through[:2]) == 1 else "were"
    return f"{fact}, as {names} {verb}"


def say_statement(claim: Claim, titles: Sequence[str]) -> str:
    """A statement as it was made: ``Ember: directed by Ana Torv``."""
    return f"{short_title(titles[claim.item])}: {say_fact(claim.relation, claim.value)}"


def say_claim(claim: Claim, titles: Sequence[str]) -> str:
    """What a request says of an item, and what the graph says of it.

    Args:
        claim: The checked statement.
        titles: Titles of all items.
    """
    if claim.status == "confirmed":
        return f"{say_statement(claim, titles)} is right"
    if claim.status == "unknown":
        return f"{say_statement(claim, titles)} is not known"
    name, said = short_title(titles[claim.item]), say_fact(claim.relation, claim.value)
    phrase = say_fact(claim.relation, " and ".join(plain_name(v) for v in claim.instead[:2]))
    return f"{name}: not {said}, but {phrase}"


def short_title(title: str) -> str:
    """A title as one says it: no year, article in front."""
    return split_year(natural_order(title))[0]
