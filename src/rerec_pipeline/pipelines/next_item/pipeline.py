"""Interactions by time -> next-item choices -> models and the policy on the same choices."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines import data_engineering
from rerec_pipeline.pipelines.rft.pipeline import ANSWERING, BACKBONE, create_task_pipeline
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.next_item.nodes")
asking = LazyModule("rerec_pipeline.pipelines.evaluation.nodes")

_REPORTED = ["next_item_counts", "params:next_item", "params:evaluation"]
_BASELINES = "next_item_baselines"
_ASKED = ["next_item_prompts", "task"]


def create_baselines_pipeline() -> Pipeline:
    """The next_item_baselines pipeline: all that needs no language model, from the raw files on."""
    ingest = data_engineering.create_pipeline().to_outputs("raw_interactions", "items")
    return ingest + Pipeline(
        [
            node(
                nodes.order_histories,
                ["raw_interactions", "items", "raw_manifest", "params:next_item"],
                ["next_item_sequences", "next_item_counts"],
            ),
            node(
                nodes.draw_choices,
                ["next_item_sequences", "items", "params:next_item"],
                "next_item_choices",
            ),
            node(
                nodes.train_sasrec,
                ["next_item_sequences", "next_item_choices", "params:sasrec"],
                ["sasrec", "sasrec_report"],
            ),
            node(
                nodes.train_lightgcn,
                ["next_item_sequences", "params:lightgcn"],
                ["next_item_lightgcn", "next_item_lightgcn_report"],
            ),
            node(
                nodes.rank_by_models,
                ["next_item_sequences", "next_item_choices", "sasrec", "next_item_lightgcn",
                 "params:sasrec", "params:next_item"],
                "next_item_ranks",
            ),
            node(nodes.report_models, ["next_item_ranks", *_REPORTED], _BASELINES),
            node(nodes.plot_choices, _BASELINES, f"{_BASELINES}_plot", name="plot_models"),
        ]
    )  # fmt: skip


def create_pipeline() -> Pipeline:
    """The next_item pipeline: the same choices for the policy before and after its training."""
    return create_task_pipeline().to_outputs("task") + Pipeline(
        [
            node(
                nodes.word_choices,
                ["next_item_sequences", "next_item_choices", "prompts", "task", "backbone_record",
                 "params:rft", "params:next_item", "params:dataset"],
                "next_item_prompts",
            ),
            node(
                asking.answer_before,
                [*_ASKED, *BACKBONE, *ANSWERING],
                "next_item_answers_before",
                name="choose_before",
                namespace="next_item",
            ),
            node(
                asking.answer_after,
                [*_ASKED, "policy", "params:rft", *ANSWERING],
                "next_item_answers_after",
                name="choose_after",
                namespace="next_item",
            ),
            node(
                nodes.report_choices,
                ["next_item_ranks", "next_item_prompts", "next_item_answers_before",
                 "next_item_answers_after", "task", *_REPORTED, "parameters"],
                "next_item_report",
            ),
            node(nodes.plot_choices, "next_item_report", "next_item_plot"),
        ]
    )  # fmt: skip
