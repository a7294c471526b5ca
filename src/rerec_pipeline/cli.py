"""The project's own commands: ``kedro experiment``, ``fetch-recbench``, ...

Kedro imports this module for every command, ``kedro --help`` included: each command imports what
it needs when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click import ClickException
from kedro.framework.cli.utils import CONTEXT_SETTINGS
from kedro.framework.startup import ProjectMetadata
from kedro_viz.launchers.cli.main import viz as kedro_viz

from rerec_pipeline.commands.asking import ask, serve
from rerec_pipeline.commands.params import ParamsOption
from rerec_pipeline.commands.pretrained import fetch_backbone, plan_run
from rerec_pipeline.commands.run import run
from rerec_pipeline.commands.shown import errors_shown

if TYPE_CHECKING:
    from rerec_pipeline import fetching
    from rerec_pipeline.runner.experiment import Plan
    from rerec_pipeline.runner.project import Project

#: What ``--domain`` takes.
DOMAINS: dict[str, tuple[fetching.Domain, ...]] = {
    "movie": ("movie",),
    "book": ("book",),
    "both": ("movie", "book"),
}


@click.group(context_settings=CONTEXT_SETTINGS, name="rerec_pipeline")
def cli() -> None:
    """Commands of this project."""


# The group is the plugin's, which comes before commands of a project: one of its own here would
# never be asked.
kedro_viz.lazy_subcommands["run"] = "rerec_pipeline.commands.viz.run"

cli.add_command(run)
cli.add_command(ask)
cli.add_command(serve)
cli.add_command(fetch_backbone)
cli.add_command(plan_run)


@cli.command()
@click.option("--preset", help="A preset of conf/base/experiments.yml.  [default: ablation]")
@click.option("--variants", help="Names, separated by commas; in place of the preset's.")
@click.option("--seeds", help="Seeds, separated by commas; in place of the preset's.")
@click.option("--dataset", help="In place of the default of conf/base/globals.yml.")
@click.option("--backbone", help="In place of the default of conf/base/globals.yml.")
@click.option(
    "--sweep",
    multiple=True,
    help="parameter=value,value,...; in place of the preset's. Several are crossed.",
)
@click.option("--params", cls=ParamsOption, help="parameter=value,... of all cells.")
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    help="Whose queries are asked; in place of the preset's.",
)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--name", help="Of the experiment.  [default: the preset's, or experiment]")
@click.option("--fresh", is_flag=True, help="Runs finished cells again, too.")
@click.pass_obj
def experiment(
    metadata: ProjectMetadata,
    preset: str | None,
    variants: str | None,
    seeds: str | None,
    dataset: str | None,
    backbone: str | None,
    sweep: tuple[str, ...],
    params: str,
    split: str | None,
    jobs: int,
    name: str | None,
    fresh: bool,
) -> None:
    """Runs variants with several seeds and compares them; the same command resumes it.

    A cell that is finished is not run again unless its code, data or parameters have changed.
    """
    from rerec_pipeline.experiments.grid import read_assignments, read_sweep
    from rerec_pipeline.runner.experiment import make_plan, read_grid
    from rerec_pipeline.runner.project import Project

    with errors_shown():
        options: dict[str, Any] = {"params": read_assignments(params)}
        if variants is not None:
            options["variants"] = _words(variants)
        if seeds is not None:
            options["seeds"] = _numbers(seeds)
        if split is not None:
            options["split"] = split
        if sweep:
            options["sweep"] = dict(read_sweep(part) for part in sweep)
        project = Project(Path(metadata.project_path))
        grid = read_grid(project.read("experiments"), preset or "ablation", options)
        plan = make_plan(project, name or preset or "experiment", grid, dataset, backbone)
        _run(plan, project, jobs, fresh)


def _run(plan: Plan, project: Project, jobs: int, fresh: bool) -> None:
    """Runs a plan and says what came of it; cells that failed are an error."""
    from rerec_pipeline.runner.experiment import run_plan, say_failures, say_results, say_where

    click.echo(f"{plan.name}: {len(plan.cells)} cells, {jobs} at once")
    try:
        outcomes = run_plan(plan, project, jobs, fresh, click.echo)
    except KeyboardInterrupt:
        raise ClickException("interrupted. Run the same command again to continue") from None
    click.echo(f"\n{say_where('kedro experiment', plan, project.root)}")
    for part in say_results(plan, outcomes, project):
        click.echo(f"\n{part}")
    if failures := [*say_failures(outcomes)]:
        said = "\n\n".join(failures)
        raise ClickException(f"{len(failures)} of {len(outcomes)} cells have failed:\n\n{said}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ClickException(f"--seeds takes whole numbers and commas, not '{text}'") from None


@cli.command()
@click.option(
    "--dest",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Gets dataset/{movie,book}/...; give it as raw_dir to later runs.",
)
@click.option("--base-url", help="Another server than that of conf/base/fetch.yml.")
@click.option("--domain", type=click.Choice([*DOMAINS]), default="both", show_default=True)
@click.option("--accept-licences", is_flag=True, help="Accept the licences without being asked.")
@click.pass_obj
def fetch_recbench(
    metadata: ProjectMetadata,
    dest: Path,
    base_url: str | None,
    domain: str,
    accept_licences: bool,
) -> None:
    """Fetches what is public of RecBench+, and lists what you must download yourself.

    Files and addresses are in conf/base/fetch.yml; the tests do not verify the
    addresses against the live server.
    """
    from rerec_pipeline import fetching
    from rerec_pipeline.runner.project import Project

    with errors_shown():
        config = fetching.read_config(Project(Path(metadata.project_path)).read("fetch"), base_url)
        click.echo(fetching.notice(config))
        if not accept_licences and not _agreed():
            raise ClickException("Nothing was fetched. To accept beforehand: --accept-licences")
        outcomes = fetching.fetch_files(config, dest, DOMAINS[domain])
        by_hand = fetching.list_by_hand(config, dest, DOMAINS[domain])
        click.echo(f"\n{fetching.table(outcomes + by_hand)}")
    if failed := sum(outcome.state == "failed" for outcome in outcomes):
        raise ClickException(f"{failed} of {len(outcomes)} files failed, see the table")


def _agreed() -> bool:
    try:
        return click.confirm("Do you accept this?")
    except click.Abort:  # nobody there to answer
        click.echo()
        return False
