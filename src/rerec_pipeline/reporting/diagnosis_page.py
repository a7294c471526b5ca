"""The diagnosis of a run as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from rerec_pipeline.reporting.diagnosis_plots import PANELS, was_measured
from rerec_pipeline.reporting.findings import Diagnosis, Finding
from rerec_pipeline.reporting.plots import embedded
from rerec_pipeline.reporting.transcripts import STYLE
from rerec_pipeline.training.rollouts import ScoredRollouts

_PAGE_STYLE = """
h3{font-size:1.15rem;margin:2.2rem 0 .6rem} .quiet{color:#6b7280}
table{border-collapse:collapse;width:100%} td,th{text-align:left;vertical-align:top;
padding:.45rem .6rem;border-bottom:1px solid #e5e7eb} th{font-weight:600;color:#6b7280}
td.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
tr.speaks td:first-child{border-left:3px solid #d97706} .advice{color:#6b7280;font-size:.92em}
.plots{display:grid;grid-template-columns:1fr 1fr;gap:1.2rem}
figure{margin:0;border:1px solid #e5e7eb;border-radius:8px;padding:.4rem;min-width:0}
figcaption{color:#6b7280;font-size:.9rem;padding:0 .6rem .4rem}
@media(max-width:800px){.plots,.columns{grid-template-columns:1fr}}
"""


def changes(
    before: ScoredRollouts, after: ScoredRollouts, most: int
) -> tuple[list[int], list[int]]:
    """Rows of the answers that became right, and that became wrong, largest change first.

    Args:
        before: Scored answers before fine-tuning.
        after: Scored answers to the same queries after.
        most: Rows of each at most.

    Returns:
        Gains by how much the reward rose, losses by how much it fell; ties in the given order.
    """
    rise = after.scored.total - before.scored.total
    was, is_ = before.graded.correct, after.graded.correct

    def first(rows: np.ndarray, by: np.ndarray) -> list[int]:
        order = np.argsort(-by[rows], kind="stable")
        return [int(row) for row in rows[order][:most]]

    return first(np.flatnonzero(is_ & ~was), rise), first(np.flatnonzero(was & ~is_), -rise)


def diagnosis_page(
    title: str,
    diagnosis: Diagnosis,
    plots: Mapping[str, go.Figure],
    gains: Sequence[str],
    losses: Sequence[str],
) -> str:
    """The page.

    Args:
        title: What it says of which run.
        diagnosis: What the rules found.
        plots: Name -> figure; those that show nothing are named and left out.
        gains: Transcripts of answers that became right, as HTML.
        losses: Of those that became wrong.
    """
    supervised = "supervised" in plots and was_measured(plots["supervised"])
    parts = [
        f"<h1>{escape(title)}</h1>",
        _findings(diagnosis, supervised),
        "<h3>Over training</h3>",
        _plots(plots),
        _transcripts("Largest gains", "Wrong before, right after", gains),
        _transcripts("Largest losses", "Right before, wrong after", losses),
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f"<style>{STYLE}{_PAGE_STYLE}</style><script>{get_plotlyjs()}</script>"
        f"{''.join(parts)}</html>\n"
    )


def _findings(diagnosis: Diagnosis, supervised: bool) -> str:
    speaking = diagnosis.speaking
    quiet = [f for f in diagnosis.findings if not f.speaks]
    head = "<tr><th>Finding<th>value<th>limit"
    told = (
        f"<table>{head}{''.join(_row(f) for f in speaking)}</table>"
        if speaking
        else "<p>Nothing to report: no rule speaks.</p>"
    )
    which = "this run, which is supervised and made no rollouts" if supervised else "this run"
    missing = (
        f"<p class=quiet>Not measured in {which}: {escape(', '.join(diagnosis.not_measured))}.</p>"
        if diagnosis.not_measured
        else ""
    )
    return (
        f"<h3>Findings</h3>{told}<h3>In order</h3>"
        f"<table class=quiet>{head}{''.join(_row(f) for f in quiet)}</table>{missing}"
    )


def _row(finding: Finding) -> str:
    advice = f"<div class=advice>{escape(finding.advice)}</div>" if finding.speaks else ""
    kind = " class=speaks" if finding.speaks else ""
    return (
        f"<tr{kind}><td>{escape(finding.sentence)}{advice}"
        f"<td class=number>{finding.value:.3g}<td class=number>{finding.limit:.3g}"
    )


def _plots(plots: Mapping[str, go.Figure]) -> str:
    shown = {name: figure for name, figure in plots.items() if was_measured(figure)}
    figures = "".join(
        f"<figure>{_figure_html(figure)}<figcaption>{_reading(name)}</figcaption></figure>"
        for name, figure in shown.items()
    )
    left_out = [str(f.layout.title.text) for name, f in plots.items() if name not in shown]
    note = (
        f"<p class=quiet>Not measured in this run: {escape(', '.join(left_out))}.</p>"
        if left_out
        else ""
    )
    return (
        "<p class=quiet>Faint: each step. Strong: moving mean. Dotted: right axis; "
        f"dotted upright: a new epoch.</p><div class=plots>{figures}</div>{note}"
    )


def _reading(name: str) -> str:
    return escape(PANELS[name].reading) if name in PANELS else ""


def _figure_html(figure: go.Figure) -> str:
    small = go.Figure(figure).update_layout(
        height=340,
        font_size=12,
        title={"font_size": 15, "y": 0.96, "yanchor": "top"},
        legend={"y": -0.28, "yanchor": "top", "x": 0.5, "xanchor": "center"},
        margin={"l": 60, "r": 60, "t": 50, "b": 90},
    )
    return embedded(small)


def _transcripts(title: str, what: str, articles: Sequence[str]) -> str:
    legend = (
        f"{what}, by the change of reward. <span class=legend>Marked</span> paragraphs bring up a "
        "wrong recommendation."
        if articles
        else f"{what}: no answer."
    )
    return f"<h3>{title}</h3><p>{legend}</p>{''.join(articles)}"
