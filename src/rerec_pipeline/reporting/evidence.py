"""The evidence that the method learns: a table over variants and seeds, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: What each gain is held against: on average, on every seed; and where it begins and ends.
MEAN_GAIN, SEED_GAIN = 0.2, 0.1
BASE_RANGE, END_RANGE = (0.1, 0.45), (0.6, 0.9)

BEGIN, END = "<!-- evidence: begin -->", "<!-- evidence: end -->"


@dataclass(frozen=True)
class Cell:
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


def table(cells: Sequence[Cell]) -> str:
    """Accuracy before and after, per seed and as mean, as a Markdown table."""
    lines = [
        "| variant | seed | before | after | gain | token passes | training, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in dict.fromkeys(cell.variant for cell in cells):
        rows = [cell for cell in cells if cell.variant == variant]
        lines += [_row(c.variant, str(c.seed), [c]) for c in rows]
        lines.append(_row(f"**{variant}**", "**mean**", rows))
    return "\n".join(lines)


def _row(variant: str, seed: str, cells: Sequence[Cell]) -> str:
    before, after, gain, passes, seconds = (
        float(np.mean([getattr(cell, name) for cell in cells]))
        for name in ("before", "after", "gain", "token_passes", "seconds")
    )
    return (
        f"| {variant} | {seed} | {before:.3f} | {after:.3f} | {gain:+.3f} "
        f"| {passes / 1e6:.2f} M | {seconds:.0f} |"
    )


def verdict(cells: Sequence[Cell], variant: str = "rerec") -> list[str]:
    """Checks a variant against the criteria; each line names one and says whether it is met."""
    rows = [cell for cell in cells if cell.variant == variant]
    gains = [cell.gain for cell in rows]
    before = float(np.mean([cell.before for cell in rows]))
    after = float(np.mean([cell.after for cell in rows]))
    checks = [
        (f"mean gain {np.mean(gains):+.3f} >= {MEAN_GAIN}", np.mean(gains) >= MEAN_GAIN),
        (f"smallest gain {min(gains):+.3f} >= {SEED_GAIN}", min(gains) >= SEED_GAIN),
        (f"base {before:.3f} within {BASE_RANGE}", BASE_RANGE[0] <= before <= BASE_RANGE[1]),
        (f"end {after:.3f} within {END_RANGE}", END_RANGE[0] <= after <= END_RANGE[1]),
    ]
    return [f"{'met' if met else 'NOT MET'}: {variant}, {text}" for text, met in checks]


def put_into(document: str, section: str) -> str:
    """Replaces the text between the markers of a document.

    Raises:
        ValueError: The document has no such markers.
    """
    if BEGIN not in document or END not in document:
        raise ValueError(f"the document has no '{BEGIN}' ... '{END}'")
    head, rest = document.split(BEGIN, 1)
    return f"{head}{BEGIN}\n{section}\n{END}{rest.split(END, 1)[1]}"
