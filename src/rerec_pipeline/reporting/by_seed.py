"""Accuracy before and after fine-tuning, by variant and seed, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        variant: Name of the variant.
        seed: Its seed.
        before, after: Accuracy.
        token_passes: Tokens that passed through the model in training (forward 1, backward 2).
        seconds: Of training.
    """

    variant: str
    seed: int
    before: float
    after: float
    token_passes: int
    seconds: float

    @property
    def gain(self) -> float:
        """Gain of fine-tuning in test accuracy."""
        return self.after - self.before


def table(runs: Sequence[Run]) -> str:
    """Accuracy before and after, per seed and as mean, as a Markdown table."""
    lines = [
        "| variant | seed | before | after | gain | token passes | training, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in dict.fromkeys(run.variant for run in runs):
        rows = [run for run in runs if run.variant == variant]
        lines += [_row(c.variant, str(c.seed), [c]) for c in rows]
        lines.append(_row(f"**{variant}**", "**mean**", rows))
    return "\n".join(lines)


def _row(variant: str, seed: str, runs: Sequence[Run]) -> str:
    before, after, gain, passes, seconds = (
        float(np.mean([getattr(run, name) for run in runs]))
        for name in ("before", "after", "gain", "token_passes", "seconds")
    )
    return (
        f"| {variant} | {seed} | {before:.3f} | {after:.3f} | {gain:+.3f} "
        f"| {passes / 1e6:.2f} M | {seconds:.0f} |"
    )
