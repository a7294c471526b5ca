"""Nodes of the diagnosis pipeline: why a finished run did or did not learn."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from rerec_pipeline.parameters import DiagnosisParameters, RFTParameters, run_choices, say_run
from rerec_pipeline.recbench.tables import examples_from_table
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.reporting import diagnosis_plots, findings, pages, plots, transcripts
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
    changed = transcripts.changes(scored["before"], scored["after"], diagnosis.changes)
    ids = evaluation_prompts["query_id"]
    return {
        **found.report(),
        "gains": [str(ids[row]) for row in changed[0]],
        "losses": [str(ids[row]) for row in changed[1]],
        "run": {**run_choices(parameters), "split": parameters["split"]},
    }


def write_diagnosis(
    found: findings.Diagnosis,
    scored: dict[str, ScoredRollouts],
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    curriculum_log: pd.DataFrame,
    run_pages: dict[str, str],
    diagnosis: DiagnosisParameters,
    parameters: dict[str, Any],
    **panels: go.Figure,
) -> str:
    """Findings, plots, and the largest gains and losses, on one page that needs no network."""
    examples = examples_from_table(evaluation_prompts, task.catalogue)
    texts = evaluation_prompts["text"].tolist()
    before, after = scored["before"], scored["after"]
    gains, losses = (
        transcripts.transcribe(examples, texts, before, after, task.catalogue, rows)
        for rows in transcripts.changes(before, after, diagnosis.changes)
    )
    links = pages.links_within(run_pages, own="Diagnosis")
    figures = {**panels, "curriculum": plots.curriculum_by_epoch(curriculum_log)}
    title = f"Diagnosis: {say_run(parameters)}"
    return pages.diagnosis_page(title, links, found, figures, diagnosis.window, gains, losses)
