"""Task, reward and a backbone -> a fine-tuned policy."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from rerec_pipeline.lazy import LazyModule

nodes = LazyModule("rerec_pipeline.pipelines.rft.nodes")

#: All that an untrained backbone's reading and answering depends on. Naming no more than that
#: lets variants share it.
BACKBONE = ("backbone_record", "params:rft.backbone", "params:rft.generation")

#: How a policy is asked.
ANSWERING = ("params:evaluation", "params:launch")


def create_task_pipeline() -> Pipeline:
    """Task and reward, which fine-tuning and evaluation share."""
    return Pipeline(
        [
            Node(nodes.build_task, ["items", "params:data"], "task", name="build_task"),
            Node(
                nodes.build_reward,
                ["task", "attribute_graph", "lightgcn_embeddings", "params:rft.reward"],
                "reward",
                name="build_reward",
            ),
        ]
    )


def create_pipeline() -> Pipeline:
    """The RFT pipeline."""
    return create_task_pipeline() + Pipeline(
        [
            Node(
                nodes.prepare_backbone,
                ["task", "queries", "prompts", "attribute_graph", "item_popularity",
                 "params:rft.backbone", "params:dataset"],
                "backbone_record",
                name="prepare_backbone",
            ),
            Node(nodes.report_prompt_lengths, ["arranged_prompts", "task", *BACKBONE],
                 "prompt_lengths", name="report_prompt_lengths"),
            Node(
                nodes.select_training_prompts,
                ["arranged_prompts", "task", *BACKBONE, "params:dataset"],
                "training_prompts",
                name="select_training_prompts",
            ),
            Node(
                nodes.collect_traces,
                ["training_prompts", "prompts", "queries", "items", "task", "params:data",
                 "params:rft", "params:base_policy.habits", "params:seed"],
                "reasoning_traces",
                name="collect_traces",
            ),
            Node(
                nodes.write_cold_start_traces,
                ["training_prompts", "prompts", "attribute_graph", "task", "params:data",
                 "params:rft.cold_start"],
                "cold_start_traces",
                name="write_cold_start_traces",
            ),
            Node(
                nodes.start_cold,
                ["backbone_record", "training_prompts", "cold_start_traces", "task", *BACKBONE[1:],
                 "params:rft.cold_start", "params:launch"],
                "start_record",
                name="start_cold",
            ),
            Node(
                nodes.fine_tune,
                ["start_record", "training_prompts", "task", "reward", "reasoning_traces",
                 "params:rft", "params:seed", "params:launch"],
                ["policy", "training_log", "curriculum_log", "training_summary"],
                name="fine_tune",
            ),
        ]
    )  # fmt: skip
