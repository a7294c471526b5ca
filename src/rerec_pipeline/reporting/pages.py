"""HTML pages that need no network and no other file, from the templates beside this module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined

from rerec_pipeline.reporting import comparison, plots
from rerec_pipeline.reporting.charts import Axis, chart
from rerec_pipeline.reporting.comparison_plots import distinguishable
from rerec_pipeline.reporting.comparison_report import p_text
from rerec_pipeline.reporting.diagnosis_plots import PANELS, was_measured
from rerec_pipeline.reporting.findings import Diagnosis
from rerec_pipeline.reporting.transcripts import Transcript

Links = Mapping[str, str]

#: Pages of a run -> their files, which lie in one folder.
RUN_PAGES = {"Transcripts": "transcripts.html", "Diagnosis": "diagnosis.html"}

_CLASSES = {
    comparison.BETTER: "better",
    comparison.WORSE: "worse",
    comparison.SEEDS: "note",
    comparison.SAME: "same",
}


def transcripts_page(
    title: str,
    links: Links,
    metrics: Mapping[str, Any],
    confidence: float,
    entries: Sequence[Transcript],
) -> str:
    """Accuracy before and after, and transcripts that can be filtered.

    Args:
        title: Title of the page.
        links: Name -> relative address of the pages it links to.
        metrics: The evaluation's report.
        confidence: Of its intervals.
        entries: What is shown.
    """
    figures = [plots.accuracy_by_type(metrics), plots.beside_baselines(metrics)]
    return _render("transcripts.html", title, links, metrics=metrics, figures=figures,
                   confidence=confidence, entries=entries)  # fmt: skip


def diagnosis_page(
    title: str,
    links: Links,
    diagnosis: Diagnosis,
    figures: Mapping[str, go.Figure],
    window: int,
    gains: Sequence[Transcript],
    losses: Sequence[Transcript],
) -> str:
    """Findings, plots of training, and the answers that changed most.

    Args:
        title: Title of the page.
        links: Name -> relative address of the pages it links to.
        diagnosis: What the rules found.
        figures: Name -> figure; those that show nothing are named and left out.
        window: Steps of the moving means.
        gains: Answers that became right.
        losses: Answers that became wrong.
    """
    shown = {name: figure for name, figure in figures.items() if was_measured(figure)}
    readings = {name: panel.reading for name, panel in PANELS.items()}
    return _render(
        "diagnosis.html", title, links, diagnosis=diagnosis, window=window,
        supervised="supervised" in shown, gains=gains, losses=losses,
        plots=[(name, figure, readings.get(name, "")) for name, figure in shown.items()],
        left_out=[f.layout.title.text for name, f in figures.items() if name not in shown],
    )  # fmt: skip


def comparison_page(
    report: Mapping[str, Any],
    figures: Mapping[str, go.Figure],
    runs: Sequence[tuple[Mapping[str, Any], Links]],
) -> str:
    """What an experiment found: results first, then how to read them.

    Args:
        report: See ``pipelines.comparison.nodes.report_comparison``.
        figures: ``accuracy``, ``differences``, ``faithfulness``, ``learning``, ``sensitivity``.
        runs: Each finished run, with the addresses of its own pages.
    """
    title = f"Variants compared: {report['experiment']['name']}"
    crowded = len(distinguishable(report["rows"])) < len(report["rows"])
    return _render("comparison.html", title, {}, report=report, figures=figures, runs=runs,
                   classes=_CLASSES, crowded=crowded)  # fmt: skip


def links_within(pages: Links, folder: str = "", own: str = "") -> dict[str, str]:
    """Name -> address of the pages of a run that exist.

    Args:
        pages: Path of each page that exists -> its relative address.
        folder: The run's folder among these paths.
        own: Name of the page that links, which needs no link to itself.
    """
    paths = {name: f"{folder}/{file}".removeprefix("/") for name, file in RUN_PAGES.items()}
    return {name: pages[path] for name, path in paths.items() if path in pages and name != own}


def plot_page(figure: go.Figure) -> str:
    """One figure on a page of its own."""
    return _render("plot.html", figure.layout.title.text or "Plot", {}, figure=figure)


def _render(template: str, title: str, links: Links, **values: Any) -> str:
    page = _environment().get_template(template)
    return page.render(title=title, links=links, **values) + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rerec_pipeline.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "arm": lambda row: comparison.arm_name(row["variant"], row["label"]),
        "chart": chart,
        "in_unit": lambda value, unit: f"{value:.1%}" if unit == "%" else f"{value:.3g}",
        "label_width": _label_width,
        "p_text": p_text,
        "percent": lambda share: "none" if share is None else f"{share:.1%}",
    }
    return environment


def _label_width(axis: Axis) -> str:
    """Width of a vertical axis' labels as CSS."""
    labels = [line for tick in axis.ticks for line in tick.lines]
    return f"min({max(map(len, labels), default=0) + 2}ch,11rem)"
