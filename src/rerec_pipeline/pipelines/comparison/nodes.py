"""Nodes of the comparison pipeline: the finished cells of an experiment, beside one another."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from rerec_pipeline.parameters import ComparisonParameters, folder_of_split
from rerec_pipeline.reporting import comparison_plots, pages
from rerec_pipeline.reporting import comparison_report as reports
from rerec_pipeline.reporting.comparison import arm_name, arms_of, check_queries, compare


def compare_cells(
    experiment_cells: dict[str, Any], cell_outcomes: pd.DataFrame, comparison: ComparisonParameters
) -> pd.DataFrame:
    """Accuracy, differences and faithfulness of every variant, with intervals and tests."""
    check_queries(cell_outcomes, f"experiment {experiment_cells['name']}")
    arms, query_types = arms_of(cell_outcomes, comparison.reference)
    return compare(arms, query_types, comparison)


def report_comparison(
    experiment_cells: dict[str, Any],
    comparison_table: pd.DataFrame,
    cell_outcomes: pd.DataFrame,
    cell_summaries: pd.DataFrame,
    cell_metrics: pd.DataFrame,
    comparison: ComparisonParameters,
) -> dict[str, Any]:
    """All that was found, machine-readable: the page says the same in words."""
    cells = experiment_cells["cells"]
    waiting = [cell for cell in cells if cell["state"] != "finished"]
    first = comparison_table.iloc[0]
    of_all = {key: experiment_cells[key] for key in ("name", "dataset", "backbone", "split")}
    learned = reports.costs(cell_summaries, cells)
    return {
        "experiment": of_all,
        "reference": {key: str(first[key]) for key in ("variant", "label")},
        "settings": comparison.model_dump(exclude={"published"}),
        "headline": reports.headline(comparison_table),
        "notes": reports.notes(comparison_table, cell_outcomes, comparison),
        "rows": reports.records(comparison_table),
        "cost": learned,
        "without_rollouts": [
            arm_name(cost["variant"], cost["label"]) for cost in learned if not cost["rollouts"]
        ],
        "baselines": reports.baselines(cell_metrics),
        "sensitivity": reports.sensitivity(comparison_table, cells),
        "published": reports.published(comparison.published, of_all),
        "cells": {"finished": len(cells) - len(waiting), "not_finished": waiting},
    }


def plot_comparison(
    comparison_report: dict[str, Any],
    cell_logs: pd.DataFrame,
    cell_summaries: pd.DataFrame,
    comparison: ComparisonParameters,
) -> tuple[go.Figure, go.Figure, go.Figure, go.Figure, go.Figure]:
    """The report as plots."""
    rows = comparison_report["rows"]
    bands = comparison_plots.learning_bands(cell_logs, cell_summaries, comparison.window)
    return (
        comparison_plots.accuracy_by_arm(rows),
        comparison_plots.differences(rows),
        comparison_plots.faithfulness(rows),
        comparison_plots.learning(bands, rows),
        comparison_plots.sensitivity(comparison_report["sensitivity"]),
    )


def write_comparison(
    comparison_report: dict[str, Any],
    experiment_cells: dict[str, Any],
    html_pages: dict[str, str],
    *plots: go.Figure,
) -> str:
    """The report as one page for a person, with links to the pages of each run."""
    asked = folder_of_split(experiment_cells["split"])
    folders = {
        f"{cell['run']}/{asked}".rstrip("/"): cell
        for cell in experiment_cells["cells"]
        if cell["state"] == "finished"
    }
    links = [(cell, pages.links_within(html_pages, at)) for at, cell in folders.items()]
    names = ("accuracy", "differences", "faithfulness", "learning", "sensitivity")
    figures = dict(zip(names, plots, strict=True))
    return pages.comparison_page(comparison_report, figures, [run for run in links if run[1]])
