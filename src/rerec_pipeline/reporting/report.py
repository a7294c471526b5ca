"""The report of a policy: accuracy, form, closeness of its answers, faithfulness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.recbench.task import Example, Graded
from rerec_pipeline.reporting.accuracy import bootstrap_interval, summarise
from rerec_pipeline.reporting.faithfulness import StatementReader, shares_confirmed
from rerec_pipeline.training.rollouts import ScoredRollouts


def report_policy(
    scored: ScoredRollouts,
    examples: Sequence[Example],
    statements: StatementReader,
    clusters: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Everything measured of one policy on one set of queries.

    Args:
        scored: Its scored answers.
        examples: What it was asked.
        statements: Reads and checks reasoning.
        clusters: Cluster of each query, (N,).
        bootstrap: Of the intervals.

    Returns:
        ``accuracy``, ``n``, ``interval`` and ``by_type`` (see ``summarise``); ``well_formed``
        (share of boxed answers), ``qas`` and ``pas`` (means), ``tokens`` (mean length), ``places``
        (see ``report_places``), ``paragraphs_penalised`` (share) and ``faithfulness``.
    """
    types = [example.query_type for example in examples]
    said = [
        statement
        for paragraphs, example in zip(scored.paragraphs, examples, strict=True)
        for statement in statements.read(paragraphs, example)
    ]
    paragraphs = sum(len(p) for p in scored.paragraphs)
    return {
        **summarise(scored.graded.correct, types, clusters, bootstrap),
        "well_formed": float(scored.graded.boxed.mean()),
        "qas": float(scored.scored.terms["qas"].mean()),
        "pas": float(scored.scored.terms["pas"].mean()),
        "tokens": float(scored.completions.n_tokens.mean()),
        "places": report_places(scored.graded, examples),
        "paragraphs_penalised": sum(len(p) for p in scored.penalised) / max(paragraphs, 1),
        "faithfulness": shares_confirmed(said),
    }


def report_places(graded: Graded, examples: Sequence[Example]) -> dict[str, float | None]:
    """Whether a policy answers what is listed first, and whether that is why it is right.

    Args:
        graded: Its graded answers.
        examples: What it was asked.

    Returns:
        Shares of all queries: ``first_chosen`` (the answer is the first candidate), ``first_right``
        (the first candidate is right) and ``off_list`` (the answer is no candidate); accuracy
        where the first candidate is right and where it is not (``where_first``, ``elsewhere``;
        None where there is no such query); ``right_within_2``, ``_3`` and ``_5``: the right one is
        among the first so many.
    """
    chosen = graded.ranked[:, 0]
    first = np.array([example.candidates[0] for example in examples])
    right = graded.truths[:, 0] == first
    place = [e.candidates.index(e.truth) if e.truth in e.candidates else np.inf for e in examples]
    within = {f"right_within_{n}": float((np.array(place) < n).mean()) for n in (2, 3, 5)}
    return {
        **within,
        "first_chosen": float((chosen == first).mean()),
        "first_right": float(right.mean()),
        "off_list": float((chosen < 0).mean()),
        "where_first": float(graded.correct[right].mean()) if right.any() else None,
        "elsewhere": float(graded.correct[~right].mean()) if not right.all() else None,
    }


def report_baselines(
    examples: Sequence[Example],
    right: Mapping[str, pd.Series],
    policy: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Accuracy of the baselines, and of the policy on the same queries.

    Args:
        examples: What was asked, N examples.
        right: Baseline -> whether it chose right; missing where it could not choose. A cold-started
            policy may be one.
        policy: Whether the fine-tuned policy was right, (N,).
        clusters: Cluster of each query, (N,).
        bootstrap: Of the intervals.

    Returns:
        ``random``: the expected accuracy, 0 for a list without the right item; for each baseline
        its summary over the queries it can answer, ``policy_there``, the policy's accuracy on
        these, and ``lead``, by how much the policy is better there, query by query, with its
        interval over clusters.
    """
    types = np.array([example.query_type for example in examples])
    chances = [(e.truth in e.candidates) / len(e.candidates) for e in examples]
    report: dict[str, Any] = {"random": {"accuracy": float(np.mean(chances))}}
    for name, outcomes in right.items():
        can = outcomes.notna().to_numpy()
        if can.any():
            chosen = outcomes[can].to_numpy(dtype=bool)
            summary = summarise(chosen, list(types[can]), clusters[can], bootstrap)
            lead = policy[can].astype(np.float64) - chosen
            interval = bootstrap_interval(lead, bootstrap, clusters[can])
            there = {"policy_there": float(policy[can].mean()), "lead": float(lead.mean())}
            report[name] = {**summary, **there, "lead_interval": interval}
    return report
