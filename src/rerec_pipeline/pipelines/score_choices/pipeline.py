"""Test prompts -> a file to ask another model with; its answers -> accuracy beside the policy's."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.rft.pipeline import create_task_pipeline
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.score_choices.nodes")


def create_export_pipeline() -> Pipeline:
    """The export_prompts pipeline."""
    return Pipeline(
        [node(nodes.export_prompts, "prompts", "prompts_export")]
    )  # fmt: skip


def create_pipeline() -> Pipeline:
    """The score_choices pipeline: answers are read by the task that the policy is graded with."""
    return create_task_pipeline().to_outputs("task") + Pipeline(
        [
            node(
                nodes.grade_choices,
                ["recorded_answers", "prompts", "task", "params:answers", "params:evaluation"],
                ["choice_scores", "choice_report"],
            )
        ]
    )  # fmt: skip
