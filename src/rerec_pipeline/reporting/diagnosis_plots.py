"""Plots of a training log, one per quantity, each over the optimizer steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle

import pandas as pd
import plotly.graph_objects as go

from rerec_pipeline.reporting.plots import ACCENT, AFTER, BEFORE, share_axis, styled_figure

_COLOURS = (AFTER, ACCENT, "#111827", "#0d9488", BEFORE, "#be185d")


@dataclass(frozen=True)
class Panel:
    """Description of one plot.

    Attributes:
        title: Its title.
        y: Title of its axis; one that begins with ``%`` is an axis of shares.
        columns: Columns of the log and their labels; one that ends in ``/*`` stands for all
            columns with this prefix, labelled by the rest of their names.
        reading: How to read it, one sentence.
        needs: A column without which the panel does not apply to a run.
    """

    title: str
    y: str
    columns: Mapping[str, str]
    reading: str
    needs: str = ""


PANELS: dict[str, Panel] = {
    "reward": Panel(
        "Reward and accuracy", "mean over rollouts (no unit)",
        {"accuracy": "accuracy", "reward": "reward",
         "diagnosis/reward_of_right": "of right answers",
         "diagnosis/reward_of_wrong": "of wrong answers"},
        "Where reward rises and accuracy does not, another term is being optimised.",
    ),
    "groups": Panel(
        "Groups without a learning signal", "% of groups",
        {"diagnosis/no_spread": "no spread", "diagnosis/none_right": "none right",
         "diagnosis/all_right": "all right",
         "diagnosis/wrong_above_right": "wrong rewarded like right"},
        "A group with equal rewards gives no gradient.",
    ),
    "terms": Panel(
        "Reward by term", "weighted mean (no unit)", {"diagnosis/weighted_term/*": ""},
        "The terms add up to the reward.",
    ),
    "variance": Panel(
        "Variance of rewards within groups, by term", "share of variance",
        {"diagnosis/variance_share/*": ""},
        "Only differences within a group give a gradient; the shares add up to 1.",
    ),
    "penalty": Panel(
        "Penalised paragraphs", "% of tokens and of advantages",
        {"raae/penalised_token_share": "of tokens",
         "diagnosis/penalised_advantage_share": "of all advantages"},
        "If the share of advantages is far larger, the penalty dominates the gradient.",
    ),
    "form": Panel(
        "Form of answers", "% of rollouts",
        {"diagnosis/not_boxed": "nothing boxed", "diagnosis/not_listed": "no candidate",
         "completions/clipped_ratio": "truncated"},
        "An answer that is missing, or is no candidate, is a wrong one.",
    ),
    "entropy": Panel(
        "Entropy of the policy", "nats per token", {"entropy": "entropy"},
        "Low entropy: the rollouts of a group are nearly the same.",
    ),
    "kl": Panel(
        "KL divergence from the backbone", "nats per token", {"kl": "KL"},
        "High KL: the policy has left the backbone's language.",
    ),
    "clipping": Panel(
        "Clipped ratios", "% of tokens", {"clip_ratio/region_mean": "clipped"},
        "A ratio can be clipped only where a generation has several updates.",
    ),
    "gradient": Panel(
        "Gradient norm", "norm before clipping (no unit)", {"grad_norm": "gradient norm"},
        "Spikes follow from a division by a tiny spread of rewards, or from a large step.",
    ),
    "length": Panel(
        "Length of completions", "tokens",
        {"completions/mean_length": "mean", "completions/min_length": "shortest",
         "completions/max_length": "longest"},
        "Shows reasoning that is padded or dropped.",
    ),
    "difficulty": Panel(
        "Difficulty of the queries served", "mean of 1 - reward (no unit)",
        {"diagnosis/kept_difficulty": "not mastered before",
         "diagnosis/returned_difficulty": "mastered before"},
        "Mastered queries that are hard again were forgotten.",
    ),
    "visits": Panel(
        "Mastered queries", "% of visits",
        {"diagnosis/returned": "mastered before", "diagnosis/newly_mastered": "newly mastered"},
        "Visits to mastered queries teach little.",
    ),
    "supervised": Panel(
        "Loss of the supervised control", "nats per token", {"loss": "loss"},
        "Cross-entropy on the target completions.", needs="mean_token_accuracy",
    ),
    "token_accuracy": Panel(
        "Token accuracy of the supervised control", "% of tokens",
        {"mean_token_accuracy": "token accuracy"}, "Of the tokens of the target completions.",
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
    figure = styled_figure(panel.title, "optimizer step", panel.y)
    shown = list(_found(panel.columns, log))
    if not shown or panel.needs not in (*log.columns, ""):
        figure.add_annotation(text="not measured in this run", showarrow=False)
        return figure
    for (column, label), colour in zip(shown, cycle(_COLOURS)):
        _add_line(figure, log[column].dropna(), label, colour, window)
    figure.update_yaxes(rangemode="tozero")
    if panel.y.startswith("%"):
        share_axis(figure, whole=False)
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


def _add_line(figure: go.Figure, values: pd.Series, label: str, colour: str, window: int) -> None:
    figure.add_scatter(
        x=values.index + 1, y=values, mode="lines", line={"color": colour, "width": 1},
        opacity=0.35, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=values.index + 1, y=values.rolling(window, min_periods=1).mean(), name=label,
        mode="lines", line={"color": colour, "width": 2.5},
    )  # fmt: skip


def _mark_epochs(figure: go.Figure, log: pd.DataFrame) -> None:
    """Adds a line where an epoch begins; all at once, as each ``add_vline`` copies the others."""
    if "curriculum/epoch" in log:
        epochs = log["curriculum/epoch"].dropna()
        line = {"type": "line", "xref": "x", "yref": "y domain", "y0": 0, "y1": 1,
                "line": {"dash": "dot", "color": BEFORE, "width": 1}}  # fmt: skip
        starts = epochs.index[epochs.diff() > 0] + 1
        figure.update_layout(shapes=[{**line, "x0": at, "x1": at} for at in starts])
