"""A whole experiment: checked, its shared part made once, its cells run, its cells compared."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from rerec_pipeline.errors import BadParameterError, ReRecError, did_you_mean
from rerec_pipeline.experiments.grid import Cell, Grid, make_cells, write
from rerec_pipeline.experiments.schedule import match_compute, too_large
from rerec_pipeline.parameters import EXPERIMENT, explain, overlay
from rerec_pipeline.processes import read_tail, start, stop, thread_settings
from rerec_pipeline.reporting import by_seed
from rerec_pipeline.runner.grid_run import GridRun, Outcome
from rerec_pipeline.runner.launch import (
    hold_lock,
    interruptible,
)
from rerec_pipeline.runner.project import Project, available_memory, check_shared
from rerec_pipeline.storage.writing import remove
from rerec_pipeline.tracking import comparison_link, git_commit

#: Where experiments leave what they are made of, below the project.
FOLDER = Path("data/08_reporting/experiments")
_SPENT = "rft.sft.token_passes"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """An experiment that has been checked and can be run.

    Attributes:
        name: Of its folder, and the group of its MLflow runs.
        cells: In the order in which they are run.
        needs: Cell -> the cell whose compute it is given.
        unmatched: Supervised variants that get the compute of the parameters instead.
    """

    name: str
    cells: list[Cell]
    needs: dict[Cell, Cell]
    unmatched: list[str]

    @property
    def shared(self) -> dict[str, str]:
        """The choices that all cells have in common."""
        first = self.cells[0]
        return {"dataset": first.dataset, "backbone": first.backbone, "split": first.split}


def read_grid(presets: Mapping[str, Any], preset: str, options: Mapping[str, Any]) -> Grid:
    """A preset with what the command says laid over it.

    Args:
        presets: What ``conf/base/experiments.yml`` says.
        preset: Name of one.
        options: Parts of a grid that the command gives; a sweep takes the place of the preset's.

    Raises:
        BadParameterError: If there is no such preset, or it can not be used.
    """
    names = [name for name in presets if name != "defaults"]
    if preset not in names:
        hint = did_you_mean(preset, names)
        raise BadParameterError(f"preset={preset} names none{hint} (conf/base/experiments.yml)")
    chosen = overlay(presets["defaults"], presets[preset] or {})
    if "sweep" in options:
        chosen["sweep"], chosen["together"] = {}, []
    try:
        return Grid.model_validate(overlay(chosen, options))
    except ValidationError as exc:
        raise BadParameterError(f"preset {preset} can not be used:\n{explain(exc)}") from None


def make_plan(
    project: Project, name: str, grid: Grid, dataset: str | None, backbone: str | None
) -> Plan:
    """Lays out an experiment; resolves and validates the configuration of every cell.

    Raises:
        BadParameterError: If a name, parameter or value is unknown or wrong, or cells differ in
            what they share.
    """
    if not re.fullmatch(EXPERIMENT, name):
        raise BadParameterError(f"'{name}' can not name an experiment: use letters, digits, . - _")
    chosen = {"dataset": dataset, "backbone": backbone}
    given = {key: value for key, value in chosen.items() if value is not None}
    base = project.parameters(write(given))
    dataset, backbone = str(base["dataset"]), str(base["backbone"])

    def defaults(variant: str) -> dict[str, Any]:
        choices = {"dataset": dataset, "backbone": backbone, "variant": variant}
        return project.flat_parameters(write({**choices, **grid.params}))

    @cache
    def labels(variant: str) -> dict[str, str]:
        choices = {"dataset": dataset, "backbone": backbone, "variant": variant}
        return project.labels(write({**choices, **grid.params}))

    cells = make_cells(dataset, backbone, grid, defaults, labels)
    check_shared(project, [cell.settings() for cell in cells])
    given_compute = _SPENT in grid.params or any(_SPENT in dict(c.changes) for c in cells)
    supervised = {c.variant for c in cells if project.is_supervised(c)} if not given_compute else {}
    needs = match_compute(cells, supervised)
    unmatched = [v for v in dict.fromkeys(c.variant for c in cells) if v in supervised]
    matched = {cell.variant for cell in needs}
    return Plan(name, cells, needs, [v for v in unmatched if v not in matched])


def run_plan(plan: Plan, project: Project, jobs: int, fresh: bool, say: Say) -> dict[Cell, Outcome]:
    """Runs an experiment: what cells share once, then every cell that is not finished.

    Raises:
        ReRecError: If another experiment is running, memory is plainly not enough, or the shared
            part can not be made.
    """
    folder = project.root / FOLDER / plan.name
    peak = project.peak_memory(plan.shared["dataset"], plan.shared["backbone"])
    if problem := too_large(jobs, peak, available_memory() if peak and jobs > 1 else 0):
        raise ReRecError(problem)
    for variant in plan.unmatched:
        say(f"{variant}: no rerec in the grid to take its compute from; {_SPENT} decides")
    with hold_lock(project.root / FOLDER / ".lock") as lock, interruptible():
        make_shared_stages(plan, project, folder, lock, say)
        run = GridRun(plan.name, plan.cells, plan.needs, project, folder, jobs, lock, fresh, say)
        outcomes = run.run()
        if any(outcome.state == "finished" for outcome in outcomes.values()):
            compare(plan, project, folder, lock, say)
    return outcomes


def make_shared_stages(plan: Plan, project: Project, folder: Path, lock: int, say: Say) -> None:
    """Makes what all cells share, as far as it is missing or was made with other parameters.

    Raises:
        ReRecError: If that fails.
    """
    text = write({**plan.shared, **dict(plan.cells[0].params)})
    if missing := project.missing_shared_stages(text):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        say(f"Making what all cells share ({', '.join(missing[:3])}{more})")
        command = project.command("shared_stages", text, "--only-missing-outputs")
        run_once(command, folder / "logs" / "shared_stages.log", project, lock)


def run_once(command: Sequence[str], log: Path, project: Project, lock: int) -> None:
    """Runs one process to its end.

    Raises:
        ReRecError: If it fails, with the end of its log.
    """
    remove(log)
    process: subprocess.Popen[bytes] = start(command, log, project.root, thread_settings(1), [lock])
    try:
        code = process.wait()
    finally:
        stop(process)
    if code != 0:
        raise ReRecError(f"this ended with status {code}, see {log}:\n{read_tail(log)}")


def compare(plan: Plan, project: Project, folder: Path, lock: int, say: Say) -> None:
    """Runs the pipeline that compares the finished cells.

    Raises:
        ReRecError: If it fails.
    """
    say("Comparing the finished cells")
    command = project.command("comparison", write({**plan.shared, "experiment": plan.name}))
    run_once(command, folder / "logs" / "comparison.log", project, lock)


def finished_runs(outcomes: Mapping[Cell, Outcome]) -> list[by_seed.Run]:
    """Finished cells as rows of the table of mean and per-seed accuracy."""
    return [
        by_seed.Run(
            cell.kind,
            cell.seed,
            report["before"]["accuracy"],
            report["after"]["accuracy"],
            int(report["training"]["token_passes"]),
            report["training"]["seconds"],
        )
        for cell, report in ((c, o.report) for c, o in outcomes.items())
        if report is not None
    ]


def say_where(command: str, plan: Plan, root: Path) -> str:
    """One line above a table: what was run, when, on which machine, with which versions."""
    today = datetime.datetime.now(datetime.UTC).date()
    threads = os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {threads} threads"
    if torch.cuda.is_available():
        machine = f"{torch.cuda.get_device_name()}, {machine}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    what = "{dataset}, {backbone}, {split} split".format(**plan.shared)
    return f"`{command}`, {today}: {what}; {machine}, {versions}, commit {git_commit(root)}."


def say_failures(outcomes: Mapping[Cell, Outcome]) -> Iterable[str]:
    """What has gone wrong, cell by cell."""
    for cell, outcome in outcomes.items():
        if outcome.state == "failed":
            yield f"{cell.name}: {outcome.error}"


def say_results(plan: Plan, outcomes: Mapping[Cell, Outcome], project: Project) -> Iterable[str]:
    """The table, the page that compares more, and where MLflow compares the runs."""
    if runs := finished_runs(outcomes):
        yield by_seed.table(runs)
    page = FOLDER / plan.name / "comparison.html"
    if (project.root / page).is_file():
        yield f"Comparison: {page}"
    ids = [outcome.run_id for outcome in outcomes.values() if outcome.run_id is not None]
    if link := comparison_link(project.mlflow, ids):
        yield f"MLflow, side by side: {link}"
