"""Goals from the attribute graph -> conversations with the assistant -> how many reach them."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.recommend.pipeline import create_assistant_pipeline
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.conversations.nodes")

_ASKED = ["params:conversations", "params:evaluation"]


def create_baselines_pipeline() -> Pipeline:
    """The conversations_baselines pipeline: retrieval alone."""
    return create_assistant_pipeline().to_outputs("task", "retriever") + Pipeline(
        [
            node(
                nodes.converse_with_retrieval,
                ["task", "retriever", "ranker", *_ASKED],
                "retrieval_conversations",
            ),
            node(
                nodes.report_retrieval_conversations,
                ["retrieval_conversations", "params:evaluation", "params:dataset"],
                "conversations_baselines",
            ),
        ]
    )


def create_pipeline() -> Pipeline:
    """The conversations pipeline: the policy beside retrieval alone."""
    asked = create_baselines_pipeline() + create_assistant_pipeline()
    return asked + Pipeline(
        [
            node(nodes.converse_with_policy, ["assistant", *_ASKED], "policy_conversations"),
            node(
                nodes.report_conversations,
                ["policy_conversations", "retrieval_conversations", "params:evaluation",
                 "parameters"],
                "conversations_report",
            ),
        ]
    )  # fmt: skip
