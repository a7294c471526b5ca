"""Runs the cells of a grid: starts what is ready, records what ends, survives what fails."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerec_pipeline.experiments.grid import Cell, Changes
from rerec_pipeline.experiments.schedule import (
    State,
    list_ready,
    list_stuck,
    say_duration,
    seconds_left,
)
from rerec_pipeline.processes import read_tail, start, stop, thread_settings
from rerec_pipeline.runner.records import CellFolder, Record, write_json
from rerec_pipeline.storage.records import Origin, describe_changes
from rerec_pipeline.storage.writing import remove
from rerec_pipeline.tracking import RunNote

if TYPE_CHECKING:
    from rerec_pipeline.runner.project import Project

#: Seconds between two looks at the running cells.
_POLL = 0.2


@dataclass
class Outcome:
    """What has become of a cell.

    Attributes:
        state: Waiting, finished or failed.
        fingerprint: Name of what it follows from, once that is known.
        error: Why it is not finished.
        record: Of a finished cell.
        report: Its machine-readable report.
    """

    state: State = "waiting"
    fingerprint: str | None = None
    error: str | None = None
    record: Record | None = None
    report: dict[str, Any] | None = None
    run_id: str | None = None


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    fingerprint: Origin
    since: float


class GridRun:
    """The cells of one experiment, run in processes of their own.

    Args:
        name: Of the experiment; the group of its MLflow runs.
        cells: In the order in which they are to be run.
        needs: Cell -> the cell whose compute it is given, which has to be finished before it.
        project: The project.
        folder: Where ``cells.json`` and the logs go.
        jobs: Cells at once.
        lock: Descriptor of the experiment's lock, which the processes inherit.
        fresh: Runs finished cells again, too.
        say: Told every line.
    """

    def __init__(
        self,
        name: str,
        cells: Sequence[Cell],
        needs: Mapping[Cell, Cell],
        project: Project,
        folder: Path,
        jobs: int,
        lock: int,
        fresh: bool,
        say: Callable[[str], None],
    ):
        self.name, self.cells, self.needs = name, cells, needs
        self.project, self.folder, self.jobs, self.say = project, folder, jobs, say
        self._lock = lock
        self.outcomes = {cell: Outcome() for cell in cells}
        self._running: dict[Cell, _Running] = {}
        self._took: list[float] = []
        if fresh:
            for cell in cells:
                self._folder(cell).forget()

    def run(self) -> dict[Cell, Outcome]:
        """Runs all cells; returns what has become of each.

        An interruption ends the running processes; the same experiment resumes from their
        checkpoints.
        """
        self._write()
        try:
            while self._advance():
                time.sleep(_POLL)
        finally:
            for running in self._running.values():
                stop(running.process)
            self._write()
        return self.outcomes

    def _advance(self) -> bool:
        """Takes in what has ended and starts what is ready; says whether anything is left."""
        for cell, running in [*self._running.items()]:
            if running.process.poll() is not None:
                del self._running[cell]
                self._take_in(cell, running)
        for cell in list_stuck(self.cells, self._states(), self.needs):
            reason = f"not run: {self.needs[cell].name}, whose compute it is given, has failed"
            self._fail(cell, reason)
        while len(self._running) < self.jobs and (ready := self._ready()):
            self._begin(ready[0])
        return bool(self._running)

    def _states(self) -> dict[Cell, State]:
        return {cell: outcome.state for cell, outcome in self.outcomes.items()}

    def _ready(self) -> list[Cell]:
        return list_ready(self.cells, self._states(), self._running, self.needs)

    def _folder(self, cell: Cell) -> CellFolder:
        return CellFolder(self.project.root, cell.run)

    def log(self, cell: Cell) -> Path:
        """What a cell's process says."""
        return self.folder / "logs" / f"{cell.run.replace('/', '-')}.log"

    def further(self, cell: Cell) -> Changes:
        """The compute that a cell is given: what another one has spent."""
        if cell not in self.needs:
            return {}
        report = self.outcomes[self.needs[cell]].report
        assert report is not None
        return {"rft.sft.token_passes": int(report["training"]["token_passes"])}

    def _begin(self, cell: Cell) -> None:
        """Takes a finished cell as it is, or starts its process."""
        further, folder = self.further(cell), self._folder(cell)
        fingerprint = self.project.fingerprint(cell, further)
        outcome = self.outcomes[cell]
        outcome.fingerprint = fingerprint.digest
        record = folder.read()
        why = self._why_again(folder, record, fingerprint)
        if record is not None and not why:
            self.project.add_to_group(record.mlflow_run_id, self.name)
            self._accept(cell, record, "finished before")
            return
        self._start(cell, folder, fingerprint, further, why)

    @staticmethod
    def _why_again(folder: CellFolder, record: Record | None, new: Origin) -> str:
        if record is None:
            return ""
        return describe_changes(record.origin, new) or folder.what_is_missing(record)

    def _start(
        self, cell: Cell, folder: CellFolder, new: Origin, further: Changes, why: str
    ) -> None:
        log = self.log(cell)
        replaced = folder.run_id
        goes_on = folder.begin(new, self.project.outputs(cell), self.project.checkpoints(cell))
        if not goes_on:
            remove(log)
        note = RunNote(self.name, cell.name, folder.run_id_file, None if goes_on else replaced)
        command = self.project.command(
            "single_run", cell.settings(further), "--only-missing-outputs"
        )
        environment = {**thread_settings(self.jobs), **note.as_environment()}
        process = start(command, log, self.project.root, environment, [self._lock])
        self._running[cell] = _Running(process, new, time.monotonic())
        because = f", run again: {why}" if why else ", goes on" if goes_on else ""
        self.say(f"{cell.name}: started{because}")

    def _take_in(self, cell: Cell, running: _Running) -> None:
        """Records a cell whose process has ended well, and says what was wrong with another."""
        seconds = time.monotonic() - running.since
        code, log = running.process.returncode, self.log(cell)
        self.outcomes[cell].run_id = self._folder(cell).run_id
        if code != 0:
            self._fail(cell, f"ended with status {code}; the end of {log}:\n{read_tail(log)}")
            return
        try:
            record = self._folder(cell).finish(
                running.fingerprint, self.project.outputs(cell), seconds
            )
        except FileNotFoundError as exc:
            self._fail(cell, f"ended without leaving {exc.filename} ({log})")
            return
        self._took.append(seconds)
        self._accept(cell, record, f"{seconds:.0f} s")

    def _accept(self, cell: Cell, record: Record, how: str) -> None:
        outcome = self.outcomes[cell]
        outcome.state, outcome.record, outcome.run_id = "finished", record, record.mlflow_run_id
        outcome.report = self.project.results(cell)
        before, after = (outcome.report[part]["accuracy"] for part in ("before", "after"))
        self._say_progress(f"{cell.name}: {before:.3f} -> {after:.3f} ({how})")

    def _fail(self, cell: Cell, error: str) -> None:
        self.outcomes[cell].state, self.outcomes[cell].error = "failed", error
        self._say_progress(f"{cell.name}: FAILED")

    def _say_progress(self, what: str) -> None:
        """A line for a cell that has ended, with how far the grid is, and the list of cells."""
        states = [*self._states().values()]
        waiting = states.count("waiting") - len(self._running)
        now = time.monotonic()
        had = [now - running.since for running in self._running.values()]
        left = seconds_left(self._took, had, waiting, self.jobs)
        done = len(states) - states.count("waiting")
        rest = f"; about {say_duration(left)} left" if left else ""
        self.say(f"[{done}/{len(states)}] {what}{rest}")
        self._write()

    def _write(self) -> None:
        first = self.cells[0]
        content = {
            "name": self.name,
            "dataset": first.dataset,
            "backbone": first.backbone,
            "split": first.split,
            "cells": [self._row(cell, outcome) for cell, outcome in self.outcomes.items()],
        }
        write_json(self.folder / "cells.json", content)

    @staticmethod
    def _row(cell: Cell, outcome: Outcome) -> dict[str, Any]:
        return {
            "variant": cell.variant,
            "seed": cell.seed,
            "label": cell.label,
            "changes": dict(cell.changes),
            "run": cell.run,
            "state": outcome.state,
            "error": outcome.error,
            "mlflow_run_id": outcome.run_id,
            "fingerprint": outcome.fingerprint,
            "seconds": outcome.record.seconds if outcome.record else None,
        }
