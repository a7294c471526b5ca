"""Interactions in order of time -> next-item choices -> models and the policy on the same ones."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines import data_engineering
from rerec_pipeline.pipelines.rft.pipeline import ANSWERING, BACKBONE, create_task_pipeline

nodes = LazyModule("rerec_pipeline.pipelines.next_item.nodes")
asking = LazyModule("rerec_pipeline.pipelines.evaluation.nodes")

_REPORTED = ["next_item_counts", "params:next_item", "params:evaluation"]
_MODELS = "next_item_baselines"
_ASKED = ["next_item_prompts", "task"]


def create_baselines_pipeline() -> Pipeline:
    """The next_item_baselines pipeline: what needs no language model, from the raw files on."""
    ingest = data_engineering.create_pipeline().to_outputs("raw_interactions", "items")
    return ingest + Pipeline(
        [
            Node(
                nodes.order_histories,
                ["raw_interactions", "items", "raw_manifest", "params:next_item"],
                ["next_item_sequences", "next_item_counts"],
                name="order_histories",
            ),
            Node(
                nodes.draw_choices,
                ["next_item_sequences", "items", "params:next_item"],
                "next_item_choices",
                name="draw_choices",
            ),
            Node(
                nodes.train_sasrec,
                ["next_item_sequences", "next_item_choices", "params:sasrec"],
                ["sasrec", "sasrec_report"],
                name="train_sasrec",
            ),
            Node(
                nodes.train_lightgcn,
                ["next_item_sequences", "params:lightgcn"],
                ["next_item_lightgcn", "next_item_lightgcn_report"],
                name="train_lightgcn",
            ),
            Node(
                nodes.rank_by_models,
                ["next_item_sequences", "next_item_choices", "sasrec", "next_item_lightgcn",
                 "params:sasrec", "params:next_item"],
                "next_item_ranks",
                name="rank_by_models",
            ),
            Node(
                nodes.report_models,
                ["next_item_ranks", *_REPORTED],
                _MODELS,
                name="report_models",
            ),
            Node(nodes.plot_choices, _MODELS, f"{_MODELS}_plot", name="plot_models"),
        ]
    )  # fmt: skip


def create_pipeline() -> Pipeline:
    """The next_item pipeline: the same choices put to the policy, before and after."""
    return create_task_pipeline().to_outputs("task") + Pipeline(
        [
            Node(
                nodes.word_choices,
                ["next_item_sequences", "next_item_choices", "prompts", "task", "backbone_record",
                 "params:rft", "params:next_item", "params:dataset"],
                "next_item_prompts",
                name="word_choices",
            ),
            Node(
                asking.answer_before,
                [*_ASKED, *BACKBONE, *ANSWERING],
                "next_item_answers_before",
                name="choose_before", namespace="next_item",
            ),
            Node(
                asking.answer_after,
                [*_ASKED, "policy", "params:rft", *ANSWERING],
                "next_item_answers_after",
                name="choose_after", namespace="next_item",
            ),
            Node(
                nodes.report_choices,
                ["next_item_ranks", "next_item_prompts", "next_item_answers_before",
                 "next_item_answers_after", "task", *_REPORTED, "parameters"],
                "next_item_report",
                name="report_choices",
            ),
            Node(nodes.plot_choices, "next_item_report", "next_item_plot", name="plot_choices"),
        ]
    )  # fmt: skip
