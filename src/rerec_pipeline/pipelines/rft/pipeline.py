"""Task, reward and a backbone -> a fine-tuned policy."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.rft.nodes")
backbone = LazyModule("rerec_pipeline.pipelines.rft.backbone")
traces = LazyModule("rerec_pipeline.pipelines.rft.traces")

#: All that an untrained backbone's reading and answering depends on. Naming no more than that
#: lets variants share it.
BACKBONE = ("backbone_record", "params:rft.backbone", "params:rft.generation")

#: How a policy is asked.
ANSWERING = ("params:evaluation", "params:launch")


def create_task_pipeline() -> Pipeline:
    """Task and reward, which fine-tuning and evaluation share."""
    return Pipeline(
        [
            node(nodes.build_task, ["items", "params:data"], "task"),
            node(
                nodes.build_reward,
                ["task", "attribute_graph", "lightgcn_embeddings", "params:rft.reward"],
                "reward",
            ),
        ]
    )


def create_pipeline() -> Pipeline:
    """The RFT pipeline."""
    return create_task_pipeline() + Pipeline(
        [
            node(
                backbone.prepare_backbone,
                ["task", "queries", "prompts", "attribute_graph",
                 "params:rft.backbone", "params:dataset"],
                "backbone_record",
            ),
            node(
                nodes.report_prompt_lengths,
                ["arranged_prompts", "task", *BACKBONE],
                "prompt_lengths",
            ),
            node(
                nodes.select_training_prompts,
                ["arranged_prompts", "task", *BACKBONE, "params:dataset"],
                "training_prompts",
            ),
            node(
                traces.collect_traces,
                ["training_prompts", "prompts", "queries", "items", "task", "params:data",
                 "params:rft", "params:base_policy.habits", "params:seed"],
                "reasoning_traces",
            ),
            node(
                traces.write_cold_start_traces,
                ["training_prompts", "prompts", "attribute_graph", "task",
                 "params:rft.cold_start"],
                "cold_start_traces",
            ),
            node(
                traces.start_cold,
                ["backbone_record", "training_prompts", "cold_start_traces", "task", *BACKBONE[1:],
                 "params:rft.cold_start", "params:launch"],
                "start_record",
            ),
            node(
                traces.write_forms,
                ["training_prompts", "task", "attribute_graph", "params:rft.constrained"],
                "training_forms",
            ),
            node(
                nodes.fine_tune,
                ["start_record", "training_prompts", "task", "reward", "reasoning_traces",
                 "params:rft", "params:seed", "params:launch", "training_forms"],
                ["policy", "training_log", "curriculum_log", "training_summary"],
            ),
        ]
    )  # fmt: skip
