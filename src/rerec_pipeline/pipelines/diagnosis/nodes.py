"""Nodes of the diagnosis pipeline: why a finished run did or did not learn."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from rerec_pipeline.parameters import DiagnosisParameters, RFTParameters, run_choices, say_run
from rerec_pipeline.recbench.tables import examples_from_table
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.reporting import diagnosis_page, diagnosis_plots, findings, plots
from rerec_pipeline.reporting.transcripts import transcript_article
from rerec_pipeline.training.rollouts import ScoredRollouts


def examine_run(
    training_log: pd.DataFrame,
    scored: dict[str, ScoredRollouts],
    evaluation_prompts: pd.DataFrame,
    rft: RFTParameters,
    diagnosis: DiagnosisParameters,
) -> findings.Diagnosis:
    """What the rules find in a run's log and answers."""
    run = findings.RunRecord(
        log=training_log,
        right_before=scored["before"].graded.correct,
        right_after=scored["after"].graded.correct,
        clusters=evaluation_prompts["cluster"].to_numpy(),
        w_penalty=rft.advantage.w_penalty,
        max_tokens=rft.generation.max_completion_tokens,
        window=diagnosis.window,
        permutations=diagnosis.permutations,
    )
    return findings.examine(run, diagnosis.limits)


def plot_training(
    training_log: pd.DataFrame, diagnosis: DiagnosisParameters
) -> dict[str, go.Figure]:
    """One plot a question, over the steps of training; an output for each."""
    return diagnosis_plots.training_plots(training_log, diagnosis.window)


def report_findings(
    found: findings.Diagnosis,
    scored: dict[str, ScoredRollouts],
    evaluation_prompts: pd.DataFrame,
    diagnosis: DiagnosisParameters,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """The findings and the queries whose answers changed, for machines."""
    changed = diagnosis_page.changes(scored["before"], scored["after"], diagnosis.changes)
    ids = evaluation_prompts["query_id"]
    return {
        **found.report(),
        "gains": [str(ids[row]) for row in changed[0]],
        "losses": [str(ids[row]) for row in changed[1]],
        "run": {**run_choices(parameters), "split": parameters["split"]},
    }


def write_page(
    found: findings.Diagnosis,
    scored: dict[str, ScoredRollouts],
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    curriculum_log: pd.DataFrame,
    diagnosis: DiagnosisParameters,
    parameters: dict[str, Any],
    **panels: go.Figure,
) -> str:
    """Findings, plots, and the largest gains and losses, on one page that needs no network."""
    shown = (
        examples_from_table(evaluation_prompts, task.catalogue),
        evaluation_prompts["text"].tolist(),
        scored["before"],
        scored["after"],
        task.catalogue,
    )
    gains, losses = (
        [transcript_article(*shown, row) for row in rows]
        for rows in diagnosis_page.changes(scored["before"], scored["after"], diagnosis.changes)
    )
    title = f"Diagnosis: {say_run(parameters)}"
    figures = {**panels, "curriculum": plots.curriculum_by_epoch(curriculum_log)}
    return diagnosis_page.diagnosis_page(title, found, figures, gains, losses)
