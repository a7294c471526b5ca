"""Conversations with a known goal: conditions of the attribute graph, told one by one.

A goal is what some item fulfils: up to three of its attributes, in different relations. The user
tells one at first; as long as what is recommended does not fulfil all of them, another one is told
(the idea of tau-bench: the goal decides, and no model judges). Several trials of a goal tell the
conditions in other orders and words: who is right by luck is not right every time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rerec_pipeline.assistant.assistant import Assistant, Request
from rerec_pipeline.assistant.conversation import Turn, read_conversation
from rerec_pipeline.assistant.words import recommendation
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.wording import say_fact
from rerec_pipeline.recbench.relations import is_kind

#: Turns that a conversation has, conditions that a goal has, and trials of each goal.
TURNS = 3
_LEAST = 2
_OPENINGS = ("I am looking for one {}.", "Could you recommend one {}?", "Please find me one {}.")
_FURTHER = ("It should be one {}, too.", "And one {}, please.", "I also want it to be one {}.")


@dataclass(frozen=True)
class Goal:
    """What a user wants.

    Attributes:
        conditions: Numbers of attributes (``Facts``), in different relations.
        items: Indices of the items that fulfil all of them.
    """

    conditions: tuple[int, ...]
    items: frozenset[int]


def draw_goals(facts: Facts, n: int, seed: int) -> list[Goal]:
    """Draws goals, each from the attributes of an item; no two are the same.

    Args:
        facts: The attribute graph.
        n: How many; fewer where the graph has not as many.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    found: dict[tuple[int, ...], Goal] = {}
    for item in rng.permutation(facts.n_items).tolist():
        held = rng.permutation(facts.of_item(item)).tolist()
        chosen = list({facts.attributes[a][0]: a for a in held}.values())[:TURNS]
        if len(chosen) >= _LEAST:
            sets = [set(facts.with_attribute(a).tolist()) for a in chosen]
            conditions = tuple(sorted(chosen))
            found.setdefault(conditions, Goal(conditions, frozenset(set.intersection(*sets))))
        if len(found) == n:
            break
    return list(found.values())


def converse(
    assistant: Assistant, goals: Sequence[Goal], trials: int, seed: int, batch: int
) -> np.ndarray:
    """Leads every conversation to its end.

    Args:
        assistant: Who is asked.
        goals: G goals.
        trials: Conversations about each, T.
        seed: Of orders and words.
        batch: Conversations at once.

    Returns:
        int64 (G, T): the turn, from 1, in which what was recommended fulfilled the goal; 0 where
        none did within ``TURNS``.
    """
    rng = np.random.default_rng(seed)
    facts = assistant.retriever.facts
    scripts = [[*_script(goal, facts, rng)] for goal in goals for _ in range(trials)]
    wanted = [goal.items for goal in goals for _ in range(trials)]
    said: list[list[Turn]] = [[] for _ in scripts]
    success = np.zeros(len(scripts), dtype=np.int64)
    for turn in range(TURNS):
        open_ = np.flatnonzero(success == 0).tolist()
        for start in range(0, len(open_), batch):
            rows = open_[start : start + batch]
            requests = [_next(assistant, said[n], scripts[n], turn) for n in rows]
            for n, answer in zip(rows, assistant.answer(requests), strict=True):
                said[n].append(Turn("assistant", recommendation(answer)))
                found = [assistant.index_of(item.id) for item in answer.items]
                if found and found[0] in wanted[n]:
                    success[n] = turn + 1
    return success.reshape(len(goals), trials)


def _script(goal: Goal, facts: Facts, rng: np.random.Generator) -> Iterator[str]:
    """What the user says in each turn; without a further condition, that it is something else."""
    told = [_phrase(*facts.attributes[a]) for a in rng.permutation(goal.conditions).tolist()]
    for turn in range(TURNS):
        if turn < len(told):
            words = _FURTHER if turn else _OPENINGS
            yield str(rng.choice(words)).format(told[turn])
        else:
            yield "Something else, please."


def _phrase(relation: str, value: str) -> str:
    fact = say_fact(relation, value)
    return f"of the kind {fact}" if is_kind(relation) else fact


def _next(assistant: Assistant, said: list[Turn], script: Sequence[str], turn: int) -> Request:
    said.append(Turn("user", script[turn]))
    wish = read_conversation(said, assistant)
    return Request(wish.request, exclude=wish.exclude)
