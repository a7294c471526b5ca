"""Nodes of conversations: with retrieval alone, and with the trained policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.assistant.simulation import converse, draw_goals
from rerec_pipeline.grounding.ranking import TreeRanker
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.parameters import EvaluationParameters, run_choices
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.reporting import conversations as reporting

#: Conversations about each goal.
TRIALS = 3


def converse_with_retrieval(
    task: RecTask,
    retriever: Retriever,
    ranker: str,
    conversations: int,
    evaluation: EvaluationParameters,
) -> pd.DataFrame:
    """Leads conversations about goals of the graph with retrieval alone.

    Returns:
        A row for each: system, goal, trial, turn of success (0 without).
    """
    assistant = Assistant(task, retriever.ordered_by(TreeRanker(ranker)))
    return _converse("graph", assistant, conversations, evaluation)


def converse_with_policy(
    assistant: Assistant, conversations: int, evaluation: EvaluationParameters
) -> pd.DataFrame:
    """Leads the same conversations with the policy.

    Returns:
        As ``converse_with_retrieval``.
    """
    return _converse("policy", assistant, conversations, evaluation)


def _converse(
    system: str, assistant: Assistant, conversations: int, evaluation: EvaluationParameters
) -> pd.DataFrame:
    goals = draw_goals(assistant.retriever.facts, conversations, evaluation.seed)
    turns = converse(assistant, goals, TRIALS, evaluation.seed, evaluation.batch_size)
    goal, trial = np.indices(turns.shape)
    rows = {"goal": goal.ravel(), "trial": trial.ravel(), "turn": turns.ravel()}
    return pd.DataFrame({"system": system, **rows})


def report_retrieval_conversations(
    of_retrieval: pd.DataFrame, evaluation: EvaluationParameters, dataset: str
) -> dict[str, Any]:
    """Success by turn and in every trial, of retrieval alone."""
    report = reporting.report_conversations(_turns(of_retrieval), evaluation.bootstrap)
    return {**report, "run": {"dataset": dataset}}


def report_conversations(
    of_policy: pd.DataFrame,
    of_retrieval: pd.DataFrame,
    evaluation: EvaluationParameters,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """Success by turn and in every trial, of the policy beside retrieval alone."""
    turns = {**_turns(of_policy), **_turns(of_retrieval)}
    report = reporting.report_conversations(turns, evaluation.bootstrap)
    return {**report, "run": run_choices(parameters)}


def _turns(conversations: pd.DataFrame) -> dict[str, np.ndarray]:
    """System -> turn of success, (goals, trials)."""
    return {
        str(system): rows.pivot(index="goal", columns="trial", values="turn").to_numpy()
        for system, rows in conversations.groupby("system")
    }
