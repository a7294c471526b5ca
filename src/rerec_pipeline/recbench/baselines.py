"""Answers that need no language model: at random, by popularity, by LightGCN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.task import Example


def choose_popular(
    examples: Sequence[Example], popularity: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Chooses the candidate with most interactions; the first listed of equals.

    Args:
        examples: What is asked, N examples.
        popularity: Interactions of each item, (I,).

    Returns:
        Item indices, (N,).
    """
    return np.array([max(e.candidates, key=lambda c: popularity[c]) for e in examples])


def choose_near(
    examples: Sequence[Example],
    profiles: Sequence[NDArray[np.float64] | None],
    items: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Chooses the candidate whose embedding has the largest product with the profile.

    Args:
        examples: What is asked, N examples.
        profiles: Whom or what to be near, (D,) each; None where nothing is known.
        items: Item embeddings, (I, D).

    Returns:
        Item indices, (N,); -1 without a profile.
    """
    chosen = np.full(len(examples), -1, dtype=np.int64)
    for n, (example, profile) in enumerate(zip(examples, profiles, strict=True)):
        if profile is not None:
            candidates = np.array(example.candidates)
            chosen[n] = candidates[np.argmax(items[candidates] @ profile)]
    return chosen


def profile_of(
    query: Query,
    mentioned: Iterable[int],
    users: Mapping[str, NDArray[np.float64]],
    items: NDArray[np.float64],
    index_of_id: Mapping[int, int],
) -> NDArray[np.float64] | None:
    """What LightGCN knows of a request: its user, else the items of its history, else those named.

    Args:
        query: The request.
        mentioned: Indices of the items it names.
        users: Embedding of each user, (D,).
        items: Item embeddings, (I, D).
        index_of_id: Item index of each item id.

    Returns:
        A profile, (D,), or None where there is nothing to go by.
    """
    if query.user_id is not None and query.user_id in users:
        return users[query.user_id]
    known = [index_of_id[item] for item in query.history] or sorted(mentioned)
    return items[known].mean(axis=0) if known else None
