"""Plots of a training log, one a question: did it learn, from what, what became of the policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pandas as pd
import plotly.graph_objects as go

from rerec_pipeline.reporting.plots import ACCENT, AFTER, BEFORE, share_axis, styled_figure

_COLOURS = (AFTER, ACCENT, "#111827", "#0d9488", BEFORE, "#be185d")


@dataclass(frozen=True)
class Panel:
    """What one plot shows.

    Attributes:
        title: Its title.
        y: Its axis.
        columns: Columns of the log and what they are called; one that ends in ``/*`` stands for
            all that begin so, called by the rest of their names.
        second: The same on an axis of its own at the right, ``second_y``.
        second_y: That axis.
        reading: How it is read, one sentence.
        needs: A column without which the panel is not for this run.
    """

    title: str
    y: str
    columns: Mapping[str, str]
    reading: str
    second: Mapping[str, str] = field(default_factory=dict)
    second_y: str = ""
    needs: str = ""


PANELS: dict[str, Panel] = {
    "reward": Panel(
        "Reward and accuracy", "mean over rollouts (no unit)",
        {"accuracy": "accuracy", "reward": "reward",
         "diagnosis/reward_of_right": "of right answers",
         "diagnosis/reward_of_wrong": "of wrong answers"},
        "Where reward rises and accuracy does not, something else is paid for.",
    ),
    "groups": Panel(
        "Groups by what they can teach", "% of groups",
        {"diagnosis/no_spread": "no spread", "diagnosis/none_right": "none right",
         "diagnosis/all_right": "all right",
         "diagnosis/wrong_above_right": "wrong paid like right"},
        "A group whose rewards are all equal has nothing to compare.",
    ),
    "terms": Panel(
        "Reward by term", "weighted mean (no unit)", {"diagnosis/paid/*": ""},
        "The terms add up to the reward.",
    ),
    "variance": Panel(
        "Variance of rewards within groups, by term", "share of variance",
        {"diagnosis/variance_share/*": ""},
        "Only differences within a group teach; the shares add up to 1.",
    ),
    "penalty": Panel(
        "Penalised paragraphs", "% of tokens and of advantages",
        {"raae/penalised_token_share": "of tokens",
         "diagnosis/push_on_penalised": "of all advantages"},
        "Far more advantages than tokens: the penalty drowns the rest.",
    ),
    "form": Panel(
        "Form of answers", "% of rollouts",
        {"diagnosis/not_boxed": "nothing boxed", "diagnosis/not_listed": "no candidate",
         "completions/clipped_ratio": "cut at the limit"},
        "An answer that is missing, or is no candidate, is a wrong one.",
    ),
    "policy": Panel(
        "Entropy and distance to the backbone", "entropy, nats per token", {"entropy": "entropy"},
        "Low entropy: rollouts are alike. High KL: the backbone's language is left.",
        {"kl": "KL"}, "KL, nats per token",
    ),
    "updates": Panel(
        "Updates", "% of tokens", {"clip_ratio/region_mean": "clipped"},
        "A ratio can be clipped only where a generation has several updates.",
        {"grad_norm": "gradient norm"}, "norm before clipping (no unit)",
    ),
    "length": Panel(
        "Length of completions", "tokens",
        {"completions/mean_length": "mean", "completions/min_length": "shortest",
         "completions/max_length": "longest"},
        "Reasoning that is padded or given up shows here.",
    ),
    "difficulty": Panel(
        "Difficulty of what the curriculum serves", "mean of 1 - reward",
        {"diagnosis/kept_difficulty": "kept", "diagnosis/returned_difficulty": "returned"},
        "Returned queries were mastered; where they are hard again, they were forgotten.",
        {"diagnosis/returned": "returned", "diagnosis/newly_mastered": "newly mastered"},
        "% of visits",
    ),
    "supervised": Panel(
        "Supervised control", "loss, nats per token", {"loss": "loss"},
        "Cross-entropy on the right answers.",
        {"mean_token_accuracy": "token accuracy"}, "% of tokens", needs="mean_token_accuracy",
    ),
}  # fmt: skip


def training_plots(log: pd.DataFrame, window: int) -> dict[str, go.Figure]:
    """All panels of a training log; one whose columns were not logged says so.

    Args:
        log: One row for each optimizer step.
        window: Steps of the moving mean.
    """
    return {name: draw(panel, log, window) for name, panel in PANELS.items()}


def was_measured(figure: go.Figure) -> bool:
    """Whether a plot shows anything."""
    return bool(figure.data)


def draw(panel: Panel, log: pd.DataFrame, window: int) -> go.Figure:
    """One panel: each step faint, a moving mean over it."""
    figure = styled_figure(panel.title, "step", panel.y)
    left, right = dict(_found(panel.columns, log)), dict(_found(panel.second, log))
    if not left or panel.needs not in (*log.columns, ""):
        figure.add_annotation(text="not measured in this run", showarrow=False)
        return figure
    axes = {**dict.fromkeys(left, "y"), **dict.fromkeys(right, "y2")}
    for (column, axis), colour in zip(axes.items(), _COLOURS, strict=False):
        _add_line(figure, log[column], {**left, **right}[column], axis, colour, window)
    figure.update_yaxes(rangemode="tozero")
    if panel.y.startswith("%"):
        share_axis(figure, whole=False)
    if right:
        figure.update_layout(
            yaxis2={"overlaying": "y", "side": "right", "title": panel.second_y,
                    "rangemode": "tozero", "showgrid": False},
            margin={"r": 70},
        )  # fmt: skip
        if panel.second_y.startswith("%"):
            share_axis(figure, whole=False, selector={"overlaying": "y"})
    _mark_epochs(figure, log)
    return figure


def _found(columns: Mapping[str, str], log: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Columns that were logged, and what they are called."""
    for column, label in columns.items():
        prefix = column.removesuffix("*")
        names = [column] if prefix == column else [c for c in log if c.startswith(prefix)]
        for name in names:
            if name in log and log[name].notna().any():
                yield name, label or name.removeprefix(prefix)


def _add_line(
    figure: go.Figure, values: pd.Series, label: str, axis: str, colour: str, window: int
) -> None:
    shown = values.dropna()
    steps = shown.index + 1
    line = {"color": colour, "dash": "dot" if axis == "y2" else "solid"}
    figure.add_scatter(
        x=steps, y=shown, yaxis=axis, mode="lines", line={**line, "width": 1}, opacity=0.35,
        showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=steps, y=shown.rolling(window, min_periods=1).mean(), yaxis=axis, name=label,
        mode="lines", line={**line, "width": 2.5},
    )  # fmt: skip


def _mark_epochs(figure: go.Figure, log: pd.DataFrame) -> None:
    if "curriculum/epoch" in log:
        epochs = log["curriculum/epoch"].dropna()
        for row in epochs.index[epochs.diff() > 0]:
            figure.add_vline(x=row + 1, line={"dash": "dot", "color": BEFORE, "width": 1})
