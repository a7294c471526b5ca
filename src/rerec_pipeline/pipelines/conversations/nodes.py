"""Nodes of conversations: with the trained policy, and with retrieval alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.assistant.simulation import converse, draw_goals
from rerec_pipeline.parameters import EvaluationParameters, run_choices
from rerec_pipeline.reporting import conversations as reporting

#: Conversations about each goal.
TRIALS = 3


def hold_conversations(
    assistant: Assistant, conversations: int, evaluation: EvaluationParameters
) -> pd.DataFrame:
    """Leads conversations about goals of the graph, the same for both systems.

    Returns:
        A row for each: system, goal, trial, turn of success (0 without).
    """
    goals = draw_goals(assistant.retriever.facts, conversations, evaluation.seed)
    systems = {
        "policy": assistant,
        "graph": Assistant(assistant.task, assistant.retriever, list_size=assistant.list_size),
    }
    tables = []
    for name, asked in systems.items():
        turns = converse(asked, goals, TRIALS, evaluation.seed, evaluation.batch_size)
        goal, trial = np.indices(turns.shape)
        rows = {"goal": goal.ravel(), "trial": trial.ravel(), "turn": turns.ravel()}
        tables.append(pd.DataFrame({"system": name, **rows}))
    return pd.concat(tables, ignore_index=True)


def report_conversations(
    conversations: pd.DataFrame, evaluation: EvaluationParameters, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Success by turn and in every trial, of the policy beside retrieval alone."""
    turns = {
        str(system): rows.pivot(index="goal", columns="trial", values="turn").to_numpy()
        for system, rows in conversations.groupby("system", sort=False)
    }
    report = reporting.report_conversations(turns, evaluation.bootstrap)
    return {**report, "run": run_choices(parameters)}
