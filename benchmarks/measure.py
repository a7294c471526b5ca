"""How the benchmarks measure, and how they report.

Times differ from machine to machine and from minute to minute, so every bar is a ratio: two ways
of doing the same work take turns in one process, and the median of the pairs' ratios counts.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from rerec_pipeline.tracking import git_commit

PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Pairs:
    """Seconds that two ways of doing the same work took, one pair after the other.

    Attributes:
        reference: Of the reference, (P,).
        ours: Of the project's code, (P,).
    """

    reference: np.ndarray
    ours: np.ndarray

    @property
    def ratio(self) -> float:
        """How many times faster ours is: median over the pairs."""
        return float(np.median(self.reference / self.ours))

    @property
    def spread(self) -> tuple[float, float]:
        """The middle half of the pairs' ratios."""
        low, high = np.percentile(self.reference / self.ours, [25, 75])
        return float(low), float(high)


def in_turns(
    reference: Callable[[int], object], ours: Callable[[int], object], pairs: int
) -> Pairs:
    """Times two functions in turns; which goes first alternates.

    Args:
        reference: Called with -1 to warm up and then with 0..pairs-1.
        ours: Likewise; the same number means the same work.
        pairs: How many pairs count.
    """
    reference(-1)
    ours(-1)
    seconds = np.zeros((2, pairs))
    for turn in range(pairs):
        order = ((0, reference), (1, ours)) if turn % 2 else ((1, ours), (0, reference))
        for row, function in order:
            seconds[row, turn] = _seconds(function, turn)
    return Pairs(seconds[0], seconds[1])


def _seconds(function: Callable[[int], object], turn: int) -> float:
    """Of one call; as in ``timeit``, without the garbage of others being collected in it."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        function(turn)
        return time.perf_counter() - start
    finally:
        gc.enable()


def peak_extra_mb(function: Callable[[], object]) -> float:
    """Resident memory (MB) that a call takes at its peak, beyond what was there before it.

    Raises:
        OSError: Elsewhere than on Linux, which alone lets a process reset its high-water mark.
    """
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    function()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@dataclass(frozen=True)
class Check:
    """One figure against its bar.

    Attributes:
        what: What was measured, with the figure and the bar in words.
        met: Whether the bar is met.
    """

    what: str
    met: bool


def at_least(what: str, value: float, bar: float, unit: str = "x") -> Check:
    """A figure that must not be below its bar."""
    return Check(f"{what}: {value:.3g}{unit} (bar: at least {bar:g}{unit})", value >= bar)


def at_most(what: str, value: float, bar: float, unit: str = "") -> Check:
    """A figure that must not be above its bar."""
    return Check(f"{what}: {value:.2g}{unit} (bar: at most {bar:g}{unit})", value <= bar)


@dataclass(frozen=True)
class Section:
    """What a benchmark has to say.

    Attributes:
        title: Its heading.
        conditions: What was measured, in a sentence or two.
        header: Names of the columns.
        rows: The table.
        checks: Figures with bars.
        ratios: By name, for ``benchmarks.json``: seconds of the first column over the second's.
    """

    title: str
    conditions: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    checks: Sequence[Check]
    ratios: Mapping[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """The section as Markdown."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        checks = "\n".join(f"- {'met' if c.met else 'NOT MET'}: {c.what}" for c in self.checks)
        return "\n\n".join([f"### {self.title}", self.conditions, table, checks])


def speed_row(name: str, pairs: Pairs, *more: str) -> list[str]:
    """A row of a table: name, milliseconds of both, ratio and its middle half, and more."""
    reference, ours = (f"{1000 * np.median(t):.3g}" for t in (pairs.reference, pairs.ours))
    low, high = pairs.spread
    return [name, reference, ours, f"{pairs.ratio:.1f}x ({low:.1f}-{high:.1f})", *more]


def surroundings(command: str, packages: Sequence[str]) -> str:
    """Command, date, machine, versions and commit, in a line."""
    today = datetime.datetime.now(datetime.UTC).date()
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"`{command}`, {today}: {os.cpu_count()} cores ({_processor()}), "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}, {versions}, "
        f"commit {git_commit(PROJECT)}."
    )


def _processor() -> str:
    """The processor's own name where Linux tells it, else its architecture."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def finish(heading: str, sections: Iterable[Section]) -> None:
    """Prints each section as soon as it is measured; exits with 1 if a bar is missed."""
    print(heading, flush=True)
    met = True
    for section in sections:
        print(f"\n{section.markdown()}", flush=True)
        met = met and all(check.met for check in section.checks)
    sys.exit(0 if met else 1)
