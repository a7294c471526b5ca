"""Plots of a run, as Plotly figures: interactive in kedro viz and MLflow, small as JSON.

Two colours mean the same everywhere: grey is before fine-tuning, blue is after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

BEFORE, AFTER, ACCENT, QUIET = "#9aa5b1", "#2563eb", "#d97706", "#cbd5e1"


#: What all plots share.
LOOKS = {
    "template": "plotly_white",
    "font": {"family": "Inter, Helvetica, Arial, sans-serif", "size": 14},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    "margin": {"l": 70, "r": 30, "t": 90, "b": 60},
}


def styled_figure(title: str, x: str, y: str) -> go.Figure:
    """An empty figure in the style that all plots share."""
    return go.Figure(layout={**LOOKS, "title": title, "xaxis_title": x, "yaxis_title": y})


def share_axis(figure: go.Figure, whole: bool = True) -> None:
    """Labels the vertical axes of shares in percent and keeps them between 0 and 100 %.

    Args:
        figure: Whose axes.
        whole: Whether they always show 0 to 100 %, not only as much as there is.
    """
    limits = {"range": [0, 1]} if whole else {"rangemode": "tozero"}
    figure.update_yaxes(tickformat=".0%", minallowed=0, maxallowed=1, **limits)


def whiskers(
    values: Iterable[float], intervals: Iterable[Sequence[float]], color: str | None = "#475569"
) -> dict[str, Any]:
    """Error bars that reach from a value to both ends of its interval.

    Args:
        values: Where the bars begin.
        intervals: Low and high end for each value.
        color: Of the bars; None takes that of what they are on.
    """
    pairs = [*zip(values, intervals, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, (_, high) in pairs],
        "arrayminus": [value - low for value, (low, _) in pairs],
        "color": color,
        "thickness": 1.4,
    }


def _grouped_bars(
    figure: go.Figure, series: Mapping[str, tuple[str, Mapping[str, tuple[float, Any]]]]
) -> go.Figure:
    """Adds bars of shares with intervals, grouped by category.

    Args:
        figure: What they are added to.
        series: Name -> colour, and category -> share and interval (None for none).
    """
    for name, (colour, bars) in series.items():
        values = [value for value, _ in bars.values()]
        ends = [interval or (value, value) for value, interval in bars.values()]
        figure.add_bar(
            x=list(bars), y=values, name=name, marker_color=colour, error_y=whiskers(values, ends)
        )
    figure.update_layout(barmode="group")
    share_axis(figure)
    return figure


def _stacked_bars(
    figure: go.Figure, names: Any, series: Mapping[str, tuple[Any, str]]
) -> go.Figure:
    """Adds bars of counts, stacked: name -> counts and colour."""
    base = 0
    for name, (counts, colour) in series.items():
        start = counts * 0 + base
        figure.add_bar(x=names, y=counts, base=start, name=name, marker_color=colour)
        base = start + counts
    return figure.update_layout(barmode="overlay")


def lightgcn_curve(history: pd.DataFrame) -> go.Figure:
    """Validation recall and NDCG of LightGCN over the epochs."""
    figure = styled_figure(
        "LightGCN on validation interactions", "epoch", "Recall and NDCG (0 to 1)"
    )
    for column, colour in (("recall", AFTER), ("ndcg", ACCENT)):
        figure.add_scatter(
            x=history["epoch"], y=history[column], name=column, mode="lines", line_color=colour
        )
    figure.update_yaxes(rangemode="tozero", minallowed=0, maxallowed=1)
    return figure


def learning_curve(log: pd.DataFrame, per_step: int, window: int) -> go.Figure:
    """Accuracy over the budget: every step, and a moving mean.

    Args:
        log: One row for each step; the supervised control has token accuracy only.
        per_step: Rollouts (or supervised examples) a step.
        window: Steps of the moving mean.
    """
    by_rl = "accuracy" in log
    column = "accuracy" if by_rl else "mean_token_accuracy"
    title = "Accuracy of rollouts on training queries" if by_rl else "Token accuracy of the answers"
    figure = styled_figure(title, "rollouts" if by_rl else "examples", "accuracy, %")
    seen = (log.index + 1) * per_step
    figure.add_scatter(
        x=seen, y=log[column], name="each step", mode="markers",
        marker={"color": QUIET, "size": 5},
    )  # fmt: skip
    figure.add_scatter(
        x=seen, y=log[column].rolling(window, min_periods=1).mean(),
        name=f"mean of {window} steps", mode="lines", line={"color": AFTER, "width": 3},
    )  # fmt: skip
    if "curriculum/epoch" in log:
        starts = log["curriculum/epoch"].diff() > 0
        for row in log.index[starts]:
            epoch = int(log["curriculum/epoch"][row])
            figure.add_vline(
                x=row * per_step, line_dash="dot", line_color=ACCENT,
                annotation_text=f"epoch {epoch}", annotation_position="bottom right",
            )  # fmt: skip
    share_axis(figure)
    return figure


def accuracy_by_type(metrics: Mapping[str, Any]) -> go.Figure:
    """Accuracy by query type, before and after, with intervals."""
    title = f"Accuracy on the {metrics['run']['split']} split"
    series = {
        f"{name} fine-tuning": (colour, {
            f"{kind}<br>n={row['n']}": (row["accuracy"], row["interval"])
            for kind, row in {"overall": metrics[name], **metrics[name]["by_type"]}.items()
        })
        for name, colour in (("before", BEFORE), ("after", AFTER))
    }  # fmt: skip
    return _grouped_bars(styled_figure(title, "query type", "accuracy, % of queries"), series)


def curriculum_by_epoch(epochs: pd.DataFrame) -> go.Figure:
    """Queries that each epoch visits, and how hard they were when it began, as shares."""
    figure = styled_figure("Curriculum", "epoch", "% of training queries; mean difficulty, %")
    if epochs.empty:
        figure.add_annotation(text="no curriculum: trained on answers", showarrow=False)
        return figure
    names, queries = epochs["epoch"].map(str).tolist(), epochs["active"] + epochs["mastered"]
    for column, name, colour in (
        ("active", "not mastered", AFTER),
        ("mastered", "mastered, set aside", QUIET),
        ("reviewed", "visited again", ACCENT),
    ):
        figure.add_bar(x=names, y=epochs[column] / queries, name=name, marker_color=colour)
    figure.add_scatter(
        x=names, y=epochs["mean_difficulty"], name="mean difficulty", mode="lines+markers",
        line_color="#111827",
    )  # fmt: skip
    figure.update_layout(barmode="group")
    figure.update_xaxes(type="category")
    share_axis(figure)
    return figure


#: Colour of a split, the same everywhere.
SPLIT_COLOURS = {"train": AFTER, "validation": ACCENT, "test": BEFORE}


def queries_by_type(counts: pd.DataFrame) -> go.Figure:
    """Queries by type and number of conditions, stacked by split."""
    figure = styled_figure("Queries", "query type and number of conditions", "queries")
    names = [f"{row.query_type}<br>{row.conditions}" for row in counts.itertuples(index=False)]
    splits = {split: (counts[split], colour) for split, colour in SPLIT_COLOURS.items()}
    return _stacked_bars(figure, names, splits)


def exclusions_by_reason(counts: pd.DataFrame) -> go.Figure:
    """Excluded records by reason."""
    figure = styled_figure("Excluded records by reason", "records", "reason")
    if counts.empty:
        figure.add_annotation(text="nothing was excluded", showarrow=False)
        return figure
    rows = counts.iloc[::-1]
    figure.add_bar(
        x=rows["count"], y=rows["reason"], orientation="h", marker_color=ACCENT,
        width=0.5, text=rows["count"].map(str), textposition="outside", cliponaxis=False,
    )  # fmt: skip
    figure.update_yaxes(automargin=True)
    return figure


def conditions_confirmed(counts: pd.DataFrame) -> go.Figure:
    """Stated conditions of right items that the attribute sources confirm, by relation."""
    figure = styled_figure(
        "Stated conditions that the attribute graph confirms", "relation", "target items"
    )
    if counts.empty:
        figure.add_annotation(text="no query states a condition", showarrow=False)
        return figure
    missing = counts["stated"] - counts["confirmed"]
    shown = {"confirmed": (counts["confirmed"], AFTER), "not confirmed": (missing, QUIET)}
    return _stacked_bars(figure, counts["relation"], shown)


def degree_distributions(degrees: pd.DataFrame) -> go.Figure:
    """Share of nodes with at least so many edges, for both graphs, on logarithmic axes."""
    figure = styled_figure("Degrees of both graphs", "edges, at least", "share of nodes")
    colours = (AFTER, "#60a5fa", ACCENT, "#111827")
    for (role, rows), colour in zip(degrees.groupby("role", sort=False), colours, strict=False):
        at_least = rows["nodes"][::-1].cumsum()[::-1] / rows["nodes"].sum()
        figure.add_scatter(
            x=rows["degree"], y=at_least, name=str(role), mode="lines", line_color=colour
        )
    figure.update_xaxes(type="log", dtick=1)
    figure.update_yaxes(type="log", dtick=1)
    figure.update_layout(legend={"orientation": "v", "y": 0.02, "yanchor": "bottom", "x": 0.02,
                                 "xanchor": "left"})  # fmt: skip
    return figure


def beside_baselines(metrics: Mapping[str, Any]) -> go.Figure:
    """Accuracy of the policy before and after beside answers that need no language model."""
    rows = {**metrics["baselines"], "before": metrics["before"], "after": metrics["after"]}
    colours = {"before": BEFORE, "after": AFTER}
    series = {}
    for name, row in rows.items():
        label = f"{name}<br>" + (f"n={row['n']}" if "n" in row else "expected")
        bar = {label: (row["accuracy"], row.get("interval"))}
        series[name] = (colours.get(name, QUIET), bar)
    title = "Compared with methods without a language model"
    figure = _grouped_bars(styled_figure(title, "method", "accuracy, % of queries"), series)
    return figure.update_layout(barmode="overlay", showlegend=False)


def abilities_kept(tasks: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Scores of other abilities before and after; the whiskers are the interval of the change.

    Args:
        tasks: Task -> metric -> its row, see ``reporting.abilities.changes``; a task is shown by
            its first metric.
    """
    before, after = {}, {}
    for task, metrics in tasks.items():
        metric, row = next(iter(metrics.items()))
        name = f"{task}<br>{metric}, n={row['n']}"
        shift = row["after"] - row["change"]
        before[name] = (row["before"], None)
        after[name] = (row["after"], [end + shift for end in row["interval"]])
    title = "Other abilities (whiskers: interval of the change)"
    figure = styled_figure(title, "task and metric", "score, %")
    return _grouped_bars(figure, {"before": (BEFORE, before), "after": (AFTER, after)})


def abilities_side_by_side(table: pd.DataFrame) -> go.Figure:
    """Changes of other abilities: a point with its interval for each run, a colour per variant.

    Args:
        table: See ``reporting.abilities.side_by_side``; a task is shown by its first metric.
    """
    figure = styled_figure(
        "Change of other abilities, by variant", "task", "score, after minus before"
    )
    shown = table[table["metric"] == table.groupby("task")["metric"].transform("first")]
    for variant, rows in shown.groupby("variant", sort=True):
        figure.add_scatter(
            x=rows["task"].tolist(), y=rows["change"], name=str(variant), mode="markers",
            offsetgroup=str(variant), text=rows["run"].tolist(), marker={"size": 9},
            error_y=whiskers(rows["change"], rows[["low", "high"]].to_numpy(), color=None),
        )  # fmt: skip
    figure.update_layout(scattermode="group")
    figure.update_xaxes(type="category", showgrid=False)
    # By itself the range would leave out ends of intervals.
    figure.update_yaxes(
        range=[min(0, shown["low"].min()) - 0.05, max(0, shown["high"].max()) + 0.05]
    )
    return figure


def next_item_choices(report: Mapping[str, Any]) -> go.Figure:
    """Hit@1, NDCG@10 and Hit@10 of every model on the same choices, with intervals."""
    size, models = report["candidates"], report["models"]
    title = f"Next item among {size} ({report['users']} users)"
    series = {
        name: (colour, {
            model: (measures[name]["mean"], measures[name]["interval"])
            for model, measures in models.items() if name in measures
        })
        for name, colour in {"hit@1": AFTER, "ndcg@10": ACCENT, "hit@10": QUIET}.items()
    }  # fmt: skip
    figure = _grouped_bars(styled_figure(title, "model", "Hit and NDCG, %"), series)
    return figure.add_hline(y=1 / size, line_dash="dot", line_color="#111827")


def ranker_features(importances: Mapping[str, float], most: int = 25) -> go.Figure:
    """The most important features of the ranker, by their share of its total gain."""
    shown = list(importances.items())[:most][::-1]
    figure = styled_figure("Feature importance of the ranker", "% of the gain", "feature")
    names = [name.replace("_", " ") for name, _ in shown]
    figure.add_bar(x=[share for _, share in shown], y=names, orientation="h", marker_color=AFTER)
    figure.update_layout(margin={"l": 190}, height=650)
    figure.update_xaxes(tickformat=".0%")
    return figure


def found_by_cut(report: Mapping[str, Any]) -> go.Figure:
    """Recall over the whole catalogue by length of the list, for each system."""
    systems = {"graph": (report["overall"], AFTER), "bm25": (report["bm25"], BEFORE),
               "popularity": (report["popularity"], QUIET)}  # fmt: skip
    series = {
        name: (colour, {
            cut.removeprefix("recall@"): (row[cut], row["intervals"][cut])
            for cut in row if cut.startswith("recall@")
        })
        for name, (row, colour) in systems.items()
    }  # fmt: skip
    figure = styled_figure("Retrieval from the whole catalogue", "length of the list", "recall, %")
    figure.update_xaxes(type="category")
    return _grouped_bars(figure, series)


def open_ended_by_type(report: Mapping[str, Any]) -> go.Figure:
    """NDCG of every system without a list, by query type."""
    shades = {"graph": AFTER, "graph + before": BEFORE, "graph + after": ACCENT, "bm25": QUIET}
    others = iter(["#0f766e", "#7c3aed", "#be185d", "#4d7c0f", "#b45309", "#334155"] * 9)
    series: dict[str, tuple[str, dict[str, Any]]] = {}
    for kind, row in report["by_type"].items():
        mark = "" if row["comparable"] else " (labels in part)"
        for name, of in row["systems"].items():
            colour = shades.get(name) or next(others)
            bars = series.setdefault(name, (colour, {}))[1]
            bars[f"{kind}{mark}, n = {row['n']}"] = (of["ndcg"], of["intervals"]["ndcg"])
    title = f"Without a list: {report['split']} queries, {report['length']} titles an answer"
    return _grouped_bars(styled_figure(title, "query type", "NDCG, %"), series)
