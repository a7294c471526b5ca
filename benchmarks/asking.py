"""Seconds until the assistant answers: from the start of `kedro ask`, and within a conversation."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from benchmarks.measure import PROJECT, Section, at_most

KEDRO = (sys.executable, "-m", "kedro")
#: In words that the sample's policy knows.
REQUESTS = (
    "I enjoyed Iron Canyon (1987). Could you recommend another film by the director of it?",
    "I am a fan of Broken Bridge (1983). Please find me another film by the director of it.",
    "I need a change. Could you recommend a film starring Núria Petrescu?",
)


def run(starts: int = 3) -> Section:
    """Measures with what `make run` has left; without it the base policy is asked."""
    make = [*KEDRO, "run", "--pipelines", "retrieval", "--only-missing-outputs"]
    # Its log stays out of the report, which goes to standard output.
    subprocess.run(make, cwd=PROJECT, stdout=sys.stderr, check=True)
    first, further = zip(*(converse() for _ in range(starts)), strict=True)
    later = np.concatenate(further)
    checks = [
        at_most("first answer, from the start of the command", float(np.median(first)), 5.0, " s"),
        at_most("each further answer of a conversation", float(np.median(later)), 1.0, " s"),
    ]
    return Section(
        title="Answering",
        conditions=f"`kedro ask --json` on the sample, {starts} conversations of "
        f"{len(REQUESTS)} requests, files in the system's cache. Medians and longest.",
        header=["", "seconds", "longest"],
        rows=[
            ["first answer", f"{np.median(first):.2f}", f"{max(first):.2f}"],
            ["further answers", f"{np.median(later):.2f}", f"{later.max():.2f}"],
        ],
        checks=checks,
    )


def converse() -> tuple[float, list[float]]:
    """Seconds of the first answer, the start of the command included, and of each further one.

    Raises:
        RuntimeError: If the command ends without an answer; says what it said.
    """
    command = [*KEDRO, "ask", "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=PROJECT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    seconds = []
    with process:
        for request in REQUESTS:
            print(request, file=process.stdin, flush=True)
            if not process.stdout.readline():
                raise RuntimeError(f"{' '.join(command)}: {process.stderr.read().strip()}")
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
        process.stdin.close()
    return seconds[0], seconds[1:]
