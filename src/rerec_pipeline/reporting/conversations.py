"""The report of conversations with a known goal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.reporting.accuracy import mean_and_interval


def report_conversations(
    turns: Mapping[str, NDArray[np.int64]], bootstrap: Bootstrap
) -> dict[str, Any]:
    """How often a goal is reached, by turn, and how often in every trial.

    Args:
        turns: System -> the turn in which each conversation reached its goal, from 1; 0 where it
            did not; (G, T) of G goals and T trials.
        bootstrap: Of the intervals; goals are drawn.

    Returns:
        ``goals``, ``trials``, and per system ``success@1`` .. ``success@3`` (share of
        conversations that had reached the goal by then) and ``pass^T`` (share of goals that every
        trial reached), each with ``mean`` and ``interval``.
    """
    goals, trials = next(iter(turns.values())).shape
    report: dict[str, Any] = {"goals": goals, "trials": trials, "systems": {}}
    for system, found in turns.items():
        reached = {f"success@{n}": ((found > 0) & (found <= n)).mean(axis=1) for n in (1, 2, 3)}
        reached[f"pass^{trials}"] = (found > 0).all(axis=1).astype(np.float64)
        report["systems"][system] = {
            name: mean_and_interval(values, bootstrap) for name, values in reached.items()
        }
    return report
