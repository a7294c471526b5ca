"""Goals from the attribute graph -> conversations with the assistant -> how many reach them."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.recommend.pipeline import create_assistant_pipeline

nodes = LazyModule("rerec_pipeline.pipelines.conversations.nodes")


def create_pipeline() -> Pipeline:
    """The conversations pipeline."""
    return create_assistant_pipeline() + Pipeline(
        [
            Node(
                nodes.hold_conversations,
                ["assistant", "params:conversations", "params:evaluation"],
                "conversations",
                name="hold_conversations",
            ),
            Node(
                nodes.report_conversations,
                ["conversations", "params:evaluation", "parameters"],
                "conversations_report",
                name="report_conversations",
            ),
        ]
    )
