"""A file of requests -> a table of recommendations, by the assistant that also serves."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.retrieval.pipeline import create_retriever_pipeline
from rerec_pipeline.pipelines.rft.pipeline import create_task_pipeline
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.recommend.nodes")


def create_assistant_pipeline() -> Pipeline:
    """The assistant with the trained policy."""
    shared = create_task_pipeline().to_outputs("task") + create_retriever_pipeline()
    return shared + Pipeline(
        [
            node(
                nodes.build_assistant,
                ["task", "retriever", "ranker", "policy", "params:rft", "parameters"],
                "assistant",
            )
        ]
    )


def create_pipeline() -> Pipeline:
    """The recommend pipeline."""
    return create_assistant_pipeline() + Pipeline(
        [
            node(
                nodes.recommend,
                ["assistant", "request_file", "params:requests", "params:rft", "params:evaluation",
                 "params:retrieval", "lightgcn_embeddings", "items", "attribute_graph",
                 "item_popularity", "group_popularity", "queries", "splits"],
                "recommendations",
            )
        ]
    )  # fmt: skip


def create_judging_pipeline() -> Pipeline:
    """The judge_answers pipeline."""
    return create_assistant_pipeline() + Pipeline(
        [
            node(
                nodes.judge_answers,
                ["assistant", "prompts", "queries", "params:data", "params:questions",
                 "params:split", "params:seed"],
                "judged_answers",
            )
        ]
    )  # fmt: skip
