"""Answers with their reasoning -> all candidates ranked by likelihood -> what that changes."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.rft.pipeline import create_task_pipeline
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.likelihood.nodes")


def create_pipeline() -> Pipeline:
    """The likelihood pipeline: the policy's answers of an evaluation."""
    return _pipeline("evaluation_prompts", "answers_after", "", "likelihood")


def create_next_item_pipeline() -> Pipeline:
    """The next_item_likelihood pipeline: the policy's answers of ``next_item``."""
    names = ("next_item_prompts", "next_item_answers_after")
    return _pipeline(*names, "next_item_", "next_item_likelihood")


def _pipeline(prompts: str, answers: str, prefix: str, stage: str) -> Pipeline:
    ranks, report = f"{prefix}candidate_ranks", f"{prefix}likelihood_report"
    return create_task_pipeline().to_outputs("task") + Pipeline(
        [
            node(
                nodes.rank_candidates,
                [prompts, answers, "policy", "task", "params:rft"],
                ranks,
                namespace=stage,
            ),
            node(
                nodes.report_likelihood,
                [ranks, prompts, "params:evaluation", "parameters"],
                report,
                namespace=stage,
            ),
        ]
    )  # fmt: skip
