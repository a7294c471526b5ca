"""The project's own commands: ``kedro evidence``."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import click
import torch
from click import ClickException
from kedro.framework.cli.utils import CONTEXT_SETTINGS
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata

from rerec_pipeline.reporting.evidence import Cell, put_into, table, verdict
from rerec_pipeline.tracking import git_commit

#: ``sft`` comes after ``rerec``: it may spend what rerec spent with the same seed.
VARIANTS = ("rerec", "grpo", "sft")


@click.group(context_settings=CONTEXT_SETTINGS, name="rerec_pipeline")
def cli() -> None:
    """Commands of this project."""


@cli.command()
@click.option("--seeds", default="0,1,2", show_default=True, help="Seeds, separated by commas.")
@click.option("--dataset", default="sample_movie", show_default=True)
@click.option("--backbone", default="tiny", show_default=True)
@click.option("--write/--no-write", default=True, show_default=True, help="Into docs/results.md.")
@click.pass_obj
def evidence(
    metadata: ProjectMetadata, seeds: str, dataset: str, backbone: str, write: bool
) -> None:
    """Shows that fine-tuning learns: rerec, grpo and an equal-compute sft, several seeds each."""
    try:
        chosen = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ClickException(f"--seeds takes whole numbers and commas, not '{seeds}'") from None
    project = Path(metadata.project_path)
    cells: list[Cell] = []
    for seed in chosen:
        for variant in VARIANTS:
            click.secho(f"\n== {variant}, seed {seed} ==", bold=True)
            choices = {"dataset": dataset, "backbone": backbone, "variant": variant, "seed": seed}
            cells.append(_run(project, choices, cells))
    section = _section(cells, project, f"{dataset}, {backbone}")
    click.echo(f"\n{section}")
    if write:
        target = project / "docs" / "results.md"
        target.write_text(put_into(target.read_text(), section))
        click.echo(f"\nWritten into {target.relative_to(project)}")


def _run(project: Path, choices: dict[str, Any], cells: list[Cell]) -> Cell:
    parameters: dict[str, Any] = dict(choices)
    if choices["variant"] == "sft":
        spent = next(c for c in cells if (c.variant, c.seed) == ("rerec", choices["seed"]))
        parameters["rft"] = {"sft": {"token_passes": spent.token_passes}}
    with KedroSession.create(project, runtime_params=parameters) as session:
        session.run()
    metrics = json.loads((project / "data/08_reporting/metrics.json").read_text())
    if metrics["run"] != choices:
        raise ClickException(f"metrics.json is of another run: {metrics['run']}")
    return Cell(
        choices["variant"],
        choices["seed"],
        metrics["before"]["accuracy"],
        metrics["after"]["accuracy"],
        int(metrics["training"]["token_passes"]),
        metrics["training"]["seconds"],
    )


def _section(cells: list[Cell], project: Path, what: str) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        machine = f"{torch.cuda.get_device_name()}, {machine}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    head = f"`make evidence`, {today}: {what}; {machine}, {versions}, commit {git_commit(project)}."
    return "\n\n".join([head, table(cells), "\n".join(f"- {line}" for line in verdict(cells))])
