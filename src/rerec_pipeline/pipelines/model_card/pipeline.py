"""What a run says of its policy -> a model card in the policy's folder."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.model_card.nodes")


def create_pipeline() -> Pipeline:
    """The model_card pipeline, the end of ``evaluation``; it can be run alone, too."""
    return Pipeline(
        [
            node(
                nodes.write_card,
                ["metrics", "backbone_record", "params:rft", "params:evaluation", "parameters"],
                "policy_card",
            )
        ]
    )
