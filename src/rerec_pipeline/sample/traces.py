"""Reasoning traces on a fabricated world: the naive reasoner's right ones, to be imitated.

They are of training queries alone. The reasoner is asked until it happens to answer right, as one
would keep the right samples of a model; its understanding of the need is the true one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rerec_pipeline.configs import Habits
from rerec_pipeline.recbench.answers import read_answer
from rerec_pipeline.sample.asks import Ask
from rerec_pipeline.sample.corpus import HeldOut
from rerec_pipeline.sample.reasoner import Reasoner, naive_trace
from rerec_pipeline.sample.world import Item, World

#: Tries for one query. Most succeed within a few; some queries' right item may not be told.
TRIES = 64


def right_traces(
    world: World,
    asked: Mapping[str, tuple[Ask, int, Sequence[int]]],
    heldout: HeldOut,
    habits: Habits,
    seed: int,
) -> dict[str, str]:
    """Writes one trace that ends in the right answer for each query, where there is one.

    Args:
        world: The world that the queries are about.
        asked: Query id -> the request, the id of the right item, the ids of the candidates.
        heldout: (need key, item id) pairs that validation and test queries ask for; no trace
            considers such an item for such a need.
        habits: How well the naive reasoner decides.
        seed: Everything random follows from it.

    Returns:
        Query id -> trace, in the order of ``asked``.
    """
    rng = np.random.default_rng(seed)
    reasoner = Reasoner(world)
    items = {item.item_id: item for item in world.items}
    traces = {}
    for query_id, (ask, truth, candidates) in asked.items():
        listed = [items[n] for n in candidates]
        trace = _right_trace(reasoner, ask, items[truth], listed, heldout, habits, rng)
        if trace is not None:
            traces[query_id] = trace
    return traces


def _right_trace(
    reasoner: Reasoner,
    ask: Ask,
    truth: Item,
    candidates: Sequence[Item],
    heldout: HeldOut,
    habits: Habits,
    rng: np.random.Generator,
) -> str | None:
    def allowed(need: object, item: Item) -> bool:
        return (ask.need.key, item.item_id) not in heldout

    if not allowed(ask.need, truth):
        return None
    for _ in range(TRIES):
        trace = naive_trace(reasoner, ask.need, truth, candidates, habits, allowed, rng)
        if read_answer(trace).titles == (truth.title,):
            return trace
    return None
