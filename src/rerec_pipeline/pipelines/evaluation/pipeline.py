"""Policy before and after -> answers on a split -> report, plots, transcripts."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.retrieval.pipeline import create_retriever_pipeline
from rerec_pipeline.pipelines.rft.pipeline import ANSWERING, BACKBONE, create_task_pipeline
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.evaluation.nodes")
traces = LazyModule("rerec_pipeline.pipelines.rft.traces")


def create_pipeline() -> Pipeline:
    """The evaluation pipeline."""
    shared = create_task_pipeline() + create_retriever_pipeline()
    return shared + _create_answers_pipeline() + _create_reports_pipeline()


def _create_answers_pipeline() -> Pipeline:
    """Prompts of a split -> scored answers, the baselines' choices beside them."""
    return Pipeline(
        [
            node(
                nodes.select_evaluation_prompts,
                ["arranged_prompts", "task", *BACKBONE, "params:dataset", "params:split",
                 "params:evaluation"],
                "evaluation_prompts",
            ),
            node(
                nodes.choose_by_baselines,
                ["evaluation_prompts", "task", "queries", "retriever", "ranker",
                 "interaction_graph", "item_popularity", "lightgcn_embeddings"],
                "baseline_choices",
            ),
            node(
                traces.write_forms,
                ["evaluation_prompts", "task", "attribute_graph", "params:rft.constrained"],
                "answer_forms",
                name="write_answer_forms", namespace="evaluation",
            ),
            node(
                nodes.answer_before,
                ["evaluation_prompts", "task", *BACKBONE, *ANSWERING, "answer_forms"],
                "answers_before",
            ),
            node(
                nodes.answer_cold_started,
                ["evaluation_prompts", "task", "start_record", *BACKBONE[1:], *ANSWERING,
                 "answer_forms"],
                "answers_cold_started",
            ),
            node(
                nodes.answer_after,
                ["evaluation_prompts", "task", "policy", "params:rft", *ANSWERING, "answer_forms"],
                "answers_after",
            ),
            node(
                nodes.score_answers,
                ["answers_before", "answers_cold_started", "answers_after", "evaluation_prompts",
                 "task", "reward", "params:rft"],
                "scored_answers",
            ),
        ]
    )  # fmt: skip


def _create_reports_pipeline() -> Pipeline:
    """Scored answers -> tables, metrics, plots and transcripts."""
    return Pipeline(
        [
            node(
                nodes.tabulate_outcomes,
                ["scored_answers", "evaluation_prompts", "task", "attribute_graph"],
                "outcomes",
            ),
            node(
                nodes.report_metrics,
                ["scored_answers", "baseline_choices", "answers_before", "answers_after",
                 "evaluation_prompts", "task", "attribute_graph", "training_summary",
                 "params:evaluation", "parameters"],
                "metrics",
            ),
            node(nodes.keep_latest, "metrics", "latest_metrics"),
            node(nodes.plot_accuracy, "metrics", "accuracy_plot"),
            node(nodes.plot_baselines, "metrics", "baselines_plot"),
            node(nodes.plot_learning, ["training_log", "training_summary"], "learning_plot"),
            node(nodes.plot_curriculum, "curriculum_log", "curriculum_plot"),
            node(
                nodes.write_transcripts,
                ["scored_answers", "evaluation_prompts", "task", "metrics", "run_pages",
                 "params:evaluation", "parameters"],
                ["transcripts", "transcripts_page"],
            ),
        ]
    )  # fmt: skip
