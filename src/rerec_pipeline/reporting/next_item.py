"""The report of next-item choices: models and policy on the same users and candidates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.reporting.accuracy import mean_and_interval
from rerec_pipeline.sequences.choices import hits, ndcg

#: Places that count in the lists.
CUT = 10


def report_places(
    places: Mapping[str, NDArray[np.int64]],
    single: Collection[str],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Ranking metrics of each model from the ranks of the target items.

    Args:
        places: Model -> place of the right candidate for each user, from 1, int64 (N,); 0 where it
            is not listed.
        single: Those that recommend one item. They have no list to measure, only a hit@1.
        bootstrap: Of the intervals.

    Returns:
        Model -> ``hit@1``, ``hit@10`` and ``ndcg@10``, each with ``mean`` and ``interval``.
    """
    return {
        model: {
            name: mean_and_interval(values, bootstrap)
            for name, values in _measures(found).items()
            if name == "hit@1" or model not in single
        }
        for model, found in places.items()
    }


def _measures(places: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    return {
        "hit@1": hits(places, 1),
        f"hit@{CUT}": hits(places, CUT),
        f"ndcg@{CUT}": ndcg(places, CUT),
    }


def places_listed(ranked: NDArray[np.int64], truths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank at which a policy lists the target item, from 1, int64 (N,); 0 where it does not.

    Args:
        ranked: Answered items (N, R), best first, -1 where a place holds no candidate.
        truths: Right items (N, 1).
    """
    found = ranked == truths
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)
