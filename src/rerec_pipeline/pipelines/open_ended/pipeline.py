"""Queries without a list -> answers of retrieval and of the policy -> the authors' measures."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.rft.pipeline import ANSWERING, BACKBONE, create_task_pipeline
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.open_ended.nodes")
asking = LazyModule("rerec_pipeline.pipelines.evaluation.nodes")
traces = LazyModule("rerec_pipeline.pipelines.rft.traces")

_REPORTED = ["published_labels", "splits", "params:open_ended", "params:evaluation"]
_ASKED = ["open_ended_prompts", "task"]


def create_baselines_pipeline() -> Pipeline:
    """The open_ended_baselines pipeline: retrieval alone, and recorded answers of other models."""
    return Pipeline(
        [
            node(
                nodes.read_published_labels,
                ["params:data.domain", "params:raw_dir"], "published_labels",
            ),
            node(
                nodes.read_recorded,
                ["params:open_ended", "published_labels"], "open_ended_recorded",
            ),
            node(
                nodes.answer_by_retrieval,
                ["retrieved", "items", "params:open_ended"], "open_ended_retrieval_answers",
            ),
            node(
                nodes.score_retrieval,
                ["open_ended_retrieval_answers", "open_ended_recorded", "published_labels",
                 "params:score_cuts"],
                "open_ended_scores",
            ),
            node(
                nodes.report_retrieval_alone,
                ["open_ended_scores", *_REPORTED, "params:split"],
                "open_ended_baselines",
            ),
            node(
                nodes.plot_open_ended, "open_ended_baselines", "open_ended_baselines_plot",
                name="plot_retrieval_alone",
            ),
        ]
    )  # fmt: skip


def create_pipeline() -> Pipeline:
    """The open_ended pipeline: the policy chooses among what retrieval found."""
    return create_task_pipeline().to_outputs("task") + Pipeline(
        [
            node(
                nodes.word_lists,
                ["retrieved", "queries", "splits", "mentions", "histories", "items",
                 "attribute_graph", "prompts", "task", "backbone_record", "params:data",
                 "params:rft", "params:dataset"],
                "open_ended_prompts",
            ),
            node(
                traces.write_forms,
                [*_ASKED, "attribute_graph", "params:rft.constrained"], "open_ended_forms",
                name="write_open_ended_forms", namespace="open_ended",
            ),
            node(
                asking.answer_before,
                [*_ASKED, *BACKBONE, *ANSWERING, "open_ended_forms"], "open_ended_answers_before",
                name="answer_before_open_ended", namespace="open_ended",
            ),
            node(
                asking.answer_after,
                [*_ASKED, "policy", "params:rft", *ANSWERING, "open_ended_forms"],
                "open_ended_answers_after",
                name="answer_after_open_ended", namespace="open_ended",
            ),
            node(
                nodes.answer_by_policy,
                ["open_ended_prompts", "open_ended_answers_before", "open_ended_answers_after",
                 "retrieved", "task", "params:open_ended"],
                "open_ended_policy_answers",
            ),
            node(
                nodes.score_policy,
                ["open_ended_policy_answers", "open_ended_scores", "published_labels",
                 "params:score_cuts"],
                "open_ended_policy_scores",
            ),
            node(
                nodes.report_with_policy,
                ["open_ended_policy_scores", *_REPORTED, "parameters"],
                "open_ended_report",
            ),
            node(nodes.plot_open_ended, "open_ended_report", "open_ended_plot"),
        ]
    )  # fmt: skip
