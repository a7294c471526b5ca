"""Seconds until a command that computes nothing answers, against Kedro outside of a project."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial

from benchmarks.measure import PROJECT, Section, at_most, in_turns, speed_row

#: Name in data/08_reporting/benchmarks.json -> the command, and how many times longer it may take.
COMMANDS = {"kedro_help": (["--help"], 4.0), "registry_list": (["registry", "list"], 6.0)}


def run(pairs: int = 5) -> Section:
    """Measures both and reports; a ratio is the project's seconds over Kedro's own."""
    rows, checks, ratios = [], [], {}
    with tempfile.TemporaryDirectory() as elsewhere:
        for name, (command, bar) in COMMANDS.items():
            here = partial(call, command, str(PROJECT))
            timed = in_turns(here, partial(call, ["--help"], elsewhere), pairs)
            rows.append(speed_row(f"kedro {' '.join(command)}", timed))
            checks.append(at_most(name, timed.ratio, bar, "x"))
            ratios[name] = timed.ratio
    return Section(
        title="Starting",
        conditions="A process each, with files in the system's cache, against `kedro --help` "
        "outside of any project.",
        header=["", "here, ms", "outside, ms", "here / outside"],
        rows=rows,
        checks=checks,
        ratios=ratios,
    )


def call(arguments: list[str], folder: str, turn: int) -> None:
    """Runs Kedro in a folder; the work is the same in every turn.

    Raises:
        CalledProcessError: If it fails.
    """
    subprocess.run(
        [sys.executable, "-m", "kedro", *arguments], cwd=folder, check=True, capture_output=True
    )
