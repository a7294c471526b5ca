"""Plots of a comparison: a variant has the same colour in all, grey is the untrained backbone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from rerec_pipeline.reporting.comparison import (
    ALL,
    BETTER,
    REFERENCE,
    SAME,
    SEEDS,
    UNTRAINED,
    WORSE,
    arm_name,
)
from rerec_pipeline.reporting.plots import (
    AFTER,
    BEFORE,
    LOOKS,
    QUIET,
    share_axis,
    styled_figure,
    whiskers,
)

#: Finding -> colour.
FINDING_COLOURS = {BETTER: "#15803d", WORSE: "#b91c1c", SEEDS: "#d97706", SAME: "#64748b"}

#: Colours of variants, the reference first; also for readers with colour blindness.
COLOURS = (
    AFTER, "#d97706", "#059669", "#c026d3", "#0891b2", "#b91c1c", "#7c3aed", "#65a30d", "#78350f",
    "#111827",
)  # fmt: skip

#: Maximum points of a learning curve.
CURVE_POINTS = 300

Rows = Sequence[Mapping[str, Any]]


def colours_of(rows: Rows) -> dict[str, str]:
    """Name of each arm -> its colour."""
    names = dict.fromkeys(arm_name(r["variant"], r["label"]) for r in rows)
    tuned = [name for name in names if name != UNTRAINED]
    return {UNTRAINED: BEFORE} | {n: COLOURS[i % len(COLOURS)] for i, n in enumerate(tuned)}


def distinguishable(rows: Rows) -> Rows:
    """Rows that one plot can show: without labelled arms if there are more arms than colours."""
    return rows if len(colours_of(rows)) <= len(COLOURS) else [r for r in rows if not r["label"]]


def _bars(rows: Rows, measure: str) -> dict[str, Any]:
    """Error bars from an interval."""
    intervals = [(row[f"{measure}_low"], row[f"{measure}_high"]) for row in rows]
    return whiskers([row[measure] for row in rows], intervals, None)


def _named(rows: Rows) -> list[str]:
    return [arm_name(row["variant"], row["label"]) for row in rows]


def _subplots(title: str, rows: int, columns: int, **layout: Any) -> go.Figure:
    """A figure of several plots with the looks of the others."""
    looks = go.Figure(layout={**LOOKS, "title": title})
    return make_subplots(rows, columns, figure=looks, **layout)


def _horizontal(figure: go.Figure, rows: int) -> go.Figure:
    """One line per arm, the first at the top."""
    figure.update_yaxes(autorange="reversed", automargin=True, title="variant")
    figure.update_layout(height=150 + 34 * max(rows, 2))
    return figure


def accuracy_by_arm(rows: Rows) -> go.Figure:
    """Accuracy by query type, one dot with its interval an arm."""
    figure = styled_figure("Accuracy by query type", "query type", "accuracy, % of queries")
    rows = distinguishable(rows)
    for name, colour in colours_of(rows).items():
        own = [row for row in rows if arm_name(row["variant"], row["label"]) == name]
        figure.add_scatter(
            x=[f"{row['query_type']}<br>n={row['queries']}" for row in own],
            y=[row["accuracy"] for row in own],
            error_y=_bars(own, "accuracy"),
            name=name,
            mode="markers",
            marker={"color": colour, "size": 8},
        )
    figure.update_layout(scattermode="group", scattergap=0.25, height=440)
    share_axis(figure)
    return figure


def differences(rows: Rows) -> go.Figure:
    """Difference in accuracy to the reference, with interval, coloured by finding."""
    overall = [row for row in rows if row["query_type"] == ALL]
    reference = next(n for r, n in zip(overall, _named(overall), strict=True)
                     if r["finding"] == REFERENCE)  # fmt: skip
    figure = styled_figure(
        f"Differences to {reference}", f"difference in accuracy to {reference} (-1 to 1)", "variant"
    )
    compared = [row for row in overall if row["finding"] != REFERENCE]
    for finding, colour in FINDING_COLOURS.items():
        own = [row for row in compared if row["finding"] == finding]
        if own:
            figure.add_scatter(
                x=[row["difference"] for row in own], y=_named(own), name=finding, mode="markers",
                error_x=_bars(own, "difference"), marker={"color": colour, "size": 10},
            )  # fmt: skip
    figure.add_vline(x=0, line_color="#111827", line_width=1)
    figure.update_yaxes(categoryorder="array", categoryarray=_named(compared), type="category")
    figure.update_layout(showlegend=True)
    return _horizontal(figure, len(compared))


def faithfulness(rows: Rows) -> go.Figure:
    """Share of stated facts and verdicts that are true, for each arm and before training."""
    overall = [row for row in rows if row["query_type"] == ALL]
    titles = {"facts_confirmed": "facts that are true", "verdicts_true": "verdicts that are true"}
    figure = _subplots(
        "Faithfulness of the reasoning", 1, 2, shared_yaxes=True,
        subplot_titles=list(titles.values()), horizontal_spacing=0.04,
    )  # fmt: skip
    colours = colours_of(overall)
    for column, measure in enumerate(titles, start=1):
        known = [row for row in overall if row[measure] is not None]
        figure.add_scatter(
            x=[row[measure] for row in known], y=_named(known),
            error_x=_bars(known, measure) | {"color": QUIET}, mode="markers", showlegend=False,
            row=1, col=column,
            marker={"color": [colours[name] for name in _named(known)], "size": 10},
        )  # fmt: skip
        before = next((r[measure] for r in known if r["variant"] == UNTRAINED), None)
        if before is not None:
            figure.add_vline(x=before, line_dash="dot", line_color=BEFORE, row=1, col=column)
    figure.update_yaxes(categoryorder="array", categoryarray=_named(overall), type="category")
    figure.update_xaxes(tickformat=".0%", minallowed=0, maxallowed=1, title="% of those stated")
    return _horizontal(figure, len(overall))


def learning_bands(logs: pd.DataFrame, summaries: pd.DataFrame, window: int) -> pd.DataFrame:
    """Rollout accuracy over the rollouts made: mean and range over seeds of a moving mean.

    Args:
        logs: Training logs of all cells; cells without ``accuracy`` make no rollouts.
        summaries: One row a cell; ``samples`` of all its ``steps``.
        window: Steps of the moving mean.

    Returns:
        variant, label, rollouts, mean, low, high; at most ``CURVE_POINTS`` an arm.
    """
    curves = []
    per_step = summaries.set_index(["variant", "label", "seed"])
    per_step = per_step["samples"] / per_step["steps"]
    by_rollouts = logs.dropna(subset="accuracy") if "accuracy" in logs else logs.iloc[:0]
    for key, rows in by_rollouts.groupby(["variant", "label", "seed"], sort=False):
        steps = pd.Series(range(1, len(rows) + 1), index=rows.index)
        smooth = rows["accuracy"].rolling(window, min_periods=1).mean()
        curves.append(
            rows[["variant", "label"]].assign(rollouts=steps * per_step[key], accuracy=smooth)
        )
    if not curves:
        return pd.DataFrame(columns=["variant", "label", "rollouts", "mean", "low", "high"])
    grouped = pd.concat(curves).groupby(["variant", "label", "rollouts"], sort=False)["accuracy"]
    bands = grouped.agg(mean="mean", low="min", high="max").reset_index()
    arms = bands.groupby(["variant", "label"], sort=False)
    thin = arms.cumcount() % (arms["mean"].transform("size") // CURVE_POINTS + 1)
    return bands[thin == 0].reset_index(drop=True)


def learning(bands: pd.DataFrame, rows: Rows) -> go.Figure:
    """Learning curves with bands over seeds."""
    figure = styled_figure(
        "Accuracy of rollouts on training queries", "rollouts", "accuracy, % of rollouts"
    )
    colours = colours_of(distinguishable(rows))
    for (variant, label), band in bands.groupby(["variant", "label"], sort=False):
        if (name := arm_name(str(variant), str(label))) not in colours:
            continue
        figure.add_scatter(
            x=[*band["rollouts"], *band["rollouts"][::-1]], y=[*band["high"], *band["low"][::-1]],
            fill="toself", fillcolor=colours[name], opacity=0.14, line_width=0, hoverinfo="skip",
            legendgroup=name, showlegend=False, mode="lines",
        )  # fmt: skip
        figure.add_scatter(
            x=band["rollouts"], y=band["mean"], name=name, mode="lines", legendgroup=name,
            line={"color": colours[name], "width": 2.5},
        )  # fmt: skip
    if bands.empty:
        figure.add_annotation(text="no finished run made rollouts", showarrow=False)
    share_axis(figure)
    figure.update_layout(height=440)
    return figure


def sensitivity(entries: Rows, columns: int = 1) -> go.Figure:
    """Accuracy against each swept parameter, a plot each, row by row."""
    if not entries:
        figure = styled_figure("Sensitivity to parameters", "", "")
        figure.add_annotation(text="no parameter was swept", showarrow=False)
        return figure
    rows = math.ceil(len(entries) / columns)
    figure = _subplots("Sensitivity to parameters", rows, columns, vertical_spacing=0.24 / rows)
    lines = dict.fromkeys(point["line"] for entry in entries for point in entry["points"])
    colours = {line: COLOURS[n % len(COLOURS)] for n, line in enumerate(lines)}
    for n, entry in enumerate(entries):
        _add_sweep(figure, (n // columns + 1, n % columns + 1), entry, colours)
    figure.update_layout(height=110 + 300 * rows)
    figure.update_yaxes(
        title="accuracy, %", matches="y", tickformat=".0%", minallowed=0, maxallowed=1
    )  # the same height means the same everywhere
    return figure


def _add_sweep(
    figure: go.Figure,
    place: tuple[int, int],
    entry: Mapping[str, Any],
    colours: Mapping[str, str],
) -> None:
    row, col = place
    kind = _axis(values := [point["value"] for point in entry["points"]])
    points = entry["points"]
    if _numbers(values):
        points = sorted(points, key=lambda point: point["value"])
    for line, colour in colours.items():
        own = [point for point in points if point["line"] == line]
        if own:
            figure.add_scatter(
                x=[str(p["value"]) if kind == "category" else p["value"] for p in own],
                y=[p["accuracy"] for p in own], error_y=_bars(own, "accuracy"), name=line,
                mode="lines+markers", marker={"color": colour, "size": 9}, legendgroup=line,
                showlegend=line not in {trace.name for trace in figure.data}, row=row, col=col,
            )  # fmt: skip
    for unchanged in entry["unchanged"]:
        figure.add_hline(
            y=unchanged["accuracy"], line_dash="dot", line_color=BEFORE, row=row, col=col,
            annotation_text=f"{unchanged['variant']} with its defaults",
            annotation_font_color="#64748b", annotation_position="top left",
        )  # fmt: skip
    figure.update_xaxes(type=kind, tickangle=0, title=entry["parameter"], row=row, col=col)
    if kind != "category":
        ticks = sorted(set(values))
        figure.update_xaxes(tickvals=ticks, ticktext=[f"{v:g}" for v in ticks], row=row, col=col)


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _axis(values: Sequence[Any]) -> str:
    """Numbers far apart are spaced by their logarithm; with a 0 among them, evenly."""
    if not _numbers(values):
        return "category"
    sizes = [abs(value) for value in values if value]
    if not sizes or max(sizes) / min(sizes) < 20:
        return "linear"
    return "log" if min(values) > 0 else "category"
