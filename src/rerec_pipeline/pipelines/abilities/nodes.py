"""Nodes of the abilities pipelines: what else the policy could do, before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

from rerec_pipeline.errors import MissingStageError
from rerec_pipeline.models.backbone import Backbone, cast_weights, load_backbone
from rerec_pipeline.parameters import (
    AbilityParameters,
    BackboneParameters,
    DataParameters,
    EvaluationParameters,
    QuestionParameters,
    run_choices,
)
from rerec_pipeline.recbench.heldout import held_out_pairs
from rerec_pipeline.reporting import abilities as reporting
from rerec_pipeline.reporting import plots

if TYPE_CHECKING:
    from rerec_pipeline.sample.questions import Question

Questions = dict[str, list["Question"]]


def write_questions(
    prompts: pd.DataFrame,
    queries: pd.DataFrame,
    items: pd.DataFrame,
    data: DataParameters,
    questions: QuestionParameters,
) -> Questions:
    """Questions about a fabricated world; none where the data set is not one.

    Verdicts are asked on pairs of the test split: no document told them, no training asked them.
    """
    if data.world is None:
        return {}
    from rerec_pipeline.sample.questions import QuestionWriter
    from rerec_pipeline.sample.world import DOMAINS, fabricate_world

    world = fabricate_world(DOMAINS[data.domain], data.world)
    asked = held_out_pairs(prompts, queries, items, ["test"])
    return QuestionWriter(world, asked, questions.size, questions.seed).write()


def measure_before(
    ability_questions: Questions,
    backbone_record: dict[str, Any],
    backbone: BackboneParameters,
    abilities: AbilityParameters,
) -> pd.DataFrame:
    """What the backbone can do before fine-tuning, question by question."""
    untrained = load_backbone(
        backbone_record["name_or_path"], backbone.dtype, backbone.template_values
    )
    return _measure(untrained, ability_questions, backbone, abilities)


def measure_after(
    ability_questions: Questions,
    policy: Backbone,
    backbone: BackboneParameters,
    abilities: AbilityParameters,
) -> pd.DataFrame:
    """What the fine-tuned policy can do, question by question."""
    return _measure(policy, ability_questions, backbone, abilities)


def _measure(
    policy: Backbone,
    questions: Questions,
    backbone: BackboneParameters,
    abilities: AbilityParameters,
) -> pd.DataFrame:
    # The harness is an extra, and takes seconds to import that no other command should wait.
    from rerec_pipeline.models.harness import BackboneLM, Tasks

    tasks = Tasks(abilities.tasks, abilities.folder, questions)
    cast_weights(policy.model, backbone.dtype)  # before and after in the same precision
    return tasks.measure(BackboneLM(policy, abilities.batch_size), abilities.limit)


def report_abilities(
    abilities_before: pd.DataFrame,
    abilities_after: pd.DataFrame,
    abilities: AbilityParameters,
    evaluation: EvaluationParameters,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """Scores before and after, with intervals of the changes."""
    return {
        "run": run_choices(parameters),
        "asked": _asked(abilities),
        "tasks": reporting.changes(abilities_before, abilities_after, evaluation.bootstrap),
    }


def _asked(abilities: AbilityParameters) -> dict[str, Any]:
    """What makes the questions of two reports the same."""
    return abilities.model_dump(mode="json", include={"tasks", "limit", "questions"})


def plot_abilities(abilities_report: dict[str, Any]) -> go.Figure:
    """Scores of each task before and after."""
    return plots.abilities_kept(abilities_report["tasks"])


def compare_abilities(
    ability_reports: dict[str, dict[str, Any]],
    abilities: AbilityParameters,
    parameters: dict[str, Any],
) -> pd.DataFrame:
    """The changes of all runs that were asked the same, side by side.

    Raises:
        MissingStageError: If no run was.
    """
    table = reporting.side_by_side(ability_reports, _asked(abilities))
    if table.empty:
        raise MissingStageError(
            "no run of this data set and backbone has been asked these questions. For each "
            "variant to compare: kedro run --pipelines abilities --params "
            "dataset={dataset},backbone={backbone},variant=...".format(**parameters)
        )
    return table


def plot_comparison(abilities_table: pd.DataFrame) -> go.Figure:
    """The changes of all runs, by task."""
    return plots.abilities_side_by_side(abilities_table)
