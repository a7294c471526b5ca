"""Goals from the attribute graph -> conversations with the assistant -> how many reach them."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.recommend.pipeline import create_assistant_pipeline
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.conversations.nodes")


def create_pipeline() -> Pipeline:
    """The conversations pipeline."""
    return create_assistant_pipeline() + Pipeline(
        [
            node(
                nodes.hold_conversations,
                ["assistant", "params:conversations", "params:evaluation"],
                "conversations",
            ),
            node(
                nodes.report_conversations,
                ["conversations", "params:evaluation", "parameters"],
                "conversations_report",
            ),
        ]
    )
