"""The project's own commands: ``kedro evidence``, ``kedro fetch-recbench``."""

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
from kedro.framework.project import settings
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata

from rerec_pipeline import fetching
from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.reporting.evidence import Cell, put_into, table, verdict
from rerec_pipeline.tracking import git_commit

#: ``sft`` comes after ``rerec``: it may spend what rerec spent with the same seed.
VARIANTS = ("rerec", "grpo", "sft")

#: What ``--domain`` takes.
DOMAINS: dict[str, tuple[fetching.Domain, ...]] = {
    "movie": ("movie",),
    "book": ("book",),
    "both": ("movie", "book"),
}


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


@cli.command()
@click.option(
    "--dest",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Gets dataset/{movie,book}/...; the raw_dir of later runs.",
)
@click.option("--base-url", help="Another server than that of conf/base/fetch.yml.")
@click.option("--domain", type=click.Choice([*DOMAINS]), default="both", show_default=True)
@click.option("--accept-licences", is_flag=True, help="Accept what is said of licences, unasked.")
@click.pass_obj
def fetch_recbench(
    metadata: ProjectMetadata,
    dest: Path,
    base_url: str | None,
    domain: str,
    accept_licences: bool,
) -> None:
    """Fetches what is public of RecBench+, and lists what has to be got by hand.

    A broken fetch is gone on with by the same command. Which files, and from where, stands in
    conf/base/fetch.yml; the addresses are not verified against the live server by the tests.
    """
    try:
        rule = fetching.read_rule(_configuration(Path(metadata.project_path), "fetch"), base_url)
    except BadParameterError as exc:
        raise ClickException(str(exc)) from None
    click.echo(fetching.notice(rule))
    if not accept_licences and not _agreed():
        raise ClickException("Nothing was fetched. To accept unasked: --accept-licences")
    outcomes = fetching.fetch_files(rule, dest, DOMAINS[domain])
    click.echo(f"\n{fetching.table(outcomes + fetching.list_by_hand(rule, dest, DOMAINS[domain]))}")
    if failed := sum(outcome.state == "failed" for outcome in outcomes):
        raise ClickException(f"{failed} of {len(outcomes)} files failed, see the table")


def _configuration(project: Path, key: str) -> dict[str, Any]:
    """A part of ``conf``, without the context and the hooks that a run needs."""
    loader = settings.CONFIG_LOADER_CLASS(
        str(project / settings.CONF_SOURCE),
        env=os.environ.get("KEDRO_ENV"),
        **settings.CONFIG_LOADER_ARGS,
    )
    return dict(loader[key])


def _agreed() -> bool:
    try:
        return click.confirm("Do you accept this?")
    except click.Abort:  # nobody there to answer
        click.echo()
        return False
