"""Which cell is next, which has to wait for another, what fits into memory, and the time left."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from rerec_pipeline.experiments.grid import Cell

State = Literal["waiting", "finished", "failed"]

#: The variant whose compute others are given.
REFERENCE = "rerec"


def match_compute(cells: Sequence[Cell], supervised: Collection[str]) -> dict[Cell, Cell]:
    """Whose compute a supervised control gets: the reference's with the same seed and changes.

    Args:
        cells: All cells.
        supervised: Variants that are given the compute that the reference has spent.

    Returns:
        Cell -> the cell that has to be finished before it; without those that have none.
    """
    # As text: a value may be a list.
    alike = {cell: (cell.seed, repr(cell.changes)) for cell in cells}
    references = {alike[cell]: cell for cell in cells if cell.variant == REFERENCE}
    return {
        cell: references[alike[cell]]
        for cell in cells
        if cell.variant in supervised and alike[cell] in references
    }


def list_ready(
    cells: Sequence[Cell],
    states: Mapping[Cell, State],
    running: Collection[Cell],
    needs: Mapping[Cell, Cell],
) -> list[Cell]:
    """Cells that can be started now, in order."""
    return [
        cell
        for cell in cells
        if states[cell] == "waiting"
        and cell not in running
        and (cell not in needs or states[needs[cell]] == "finished")
    ]


def list_stuck(
    cells: Sequence[Cell], states: Mapping[Cell, State], needs: Mapping[Cell, Cell]
) -> list[Cell]:
    """Waiting cells that nothing can help: what they need has failed."""
    return [
        c for c in cells if states[c] == "waiting" and c in needs and states[needs[c]] == "failed"
    ]


def seconds_left(
    took: Sequence[float], running: Sequence[float], waiting: int, jobs: int
) -> float | None:
    """How long the rest will take, if cells take as long as the finished ones did on average.

    Args:
        took: Seconds of each finished cell of this experiment.
        running: Seconds that each running cell has had.
        waiting: Cells not begun.
        jobs: Cells at once.

    Returns:
        Seconds; None as long as no cell is finished.
    """
    if not took:
        return None
    mean = sum(took) / len(took)
    work = waiting * mean + sum(max(mean - had, 0.0) for had in running)
    longest = max((mean - had for had in running), default=mean if waiting else 0.0)
    return max(work / jobs, longest, 0.0)


def say_duration(seconds: float) -> str:
    """Seconds in words: ``45 s``, ``12 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def too_large(jobs: int, peak: int | None, available: int) -> str | None:
    """Why so many cells at once do not fit into memory; None if they may.

    Args:
        jobs: Cells at once.
        peak: Most bytes that a finished cell of this backbone has held; None if none is known.
        available: Bytes that are free.
    """
    if jobs == 1 or peak is None or jobs * peak <= available:
        return None
    fits = max(1, available // peak)
    return (
        f"{jobs} cells at once need about {jobs * peak / 1e9:.1f} GB (a finished one held "
        f"{peak / 1e9:.1f} GB), and {available / 1e9:.1f} GB are free: use --jobs {fits}"
    )
