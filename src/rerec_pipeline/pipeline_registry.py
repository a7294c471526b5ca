"""Project pipelines."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from rerec_pipeline.pipelines import (
    abilities,
    base_policy,
    comparison,
    conversations,
    data_engineering,
    data_report,
    diagnosis,
    evaluation,
    graph_modeling,
    likelihood,
    model_card,
    next_item,
    open_ended,
    recommend,
    retrieval,
    rft,
    score_answers,
    score_choices,
    transfer,
)
from rerec_pipeline.pipelines.stages import stage_of

#: What fine-tuning and evaluation need that is the same for all variants and seeds; an experiment
#: makes it once (``shared_stages``), and everything else for each of its cells (``single_run``).
SHARED = (
    "prompt_lengths",
    "training_prompts",
    "evaluation_prompts",
    "baseline_choices",
    "answers_before",
    "start_record",
    "answers_cold_started",
)


def register_pipelines() -> dict[str, Pipeline]:
    """Names the pipelines that ``kedro run --pipelines`` knows.

    They are built explicitly: ``find_pipelines()`` gives only the one that is asked for, and
    ``rft`` is registered together with the stages it needs, so that it runs on a fresh clone.
    """
    data = data_engineering.create_pipeline() + data_report.create_pipeline()
    upstream = data + graph_modeling.create_pipeline() + retrieval.create_ranker_pipeline()
    tuned = upstream + rft.create_pipeline()
    found = upstream + retrieval.create_pipeline()
    evaluated = evaluation.create_pipeline() + model_card.create_pipeline()
    whole = tuned + found + evaluated
    shared = found + whole.to_outputs(*SHARED)
    registered = {
        "__default__": whole,
        "data_engineering": data,
        "graph_modeling": graph_modeling.create_pipeline(),
        "retrieval": found,
        "rft": tuned,
        "evaluation": evaluated,
        "diagnosis": diagnosis.create_pipeline(),
        "shared_stages": shared,
        "single_run": whole
        - shared
        - whole.only_nodes("keep_latest")
        + whole.only_nodes("build_task"),
        "base_policy": base_policy.create_pipeline(),
        "score_answers": score_answers.create_pipeline(),
        "export_prompts": score_choices.create_export_pipeline(),
        "score_choices": score_choices.create_pipeline(),
        "comparison": comparison.create_pipeline(),
        "abilities": abilities.create_pipeline(),
        "abilities_comparison": abilities.create_comparison_pipeline(),
        "next_item_baselines": next_item.create_baselines_pipeline(),
        "next_item": next_item.create_baselines_pipeline() + next_item.create_pipeline(),
        "likelihood": likelihood.create_pipeline(),
        "next_item_likelihood": likelihood.create_next_item_pipeline(),
        "model_card": model_card.create_pipeline(),
        "conversations_baselines": conversations.create_baselines_pipeline(),
        "conversations": conversations.create_pipeline(),
        "recommend": recommend.create_pipeline(),
        "open_ended_baselines": found + open_ended.create_baselines_pipeline(),
        "open_ended": open_ended.create_baselines_pipeline() + open_ended.create_pipeline(),
        "judge_answers": recommend.create_judging_pipeline(),
        "transfer": upstream + transfer.create_pipeline(),
    }
    return {name: _in_boxes(pipeline) for name, pipeline in registered.items()}


def _in_boxes(pipeline: Pipeline) -> Pipeline:
    """Puts the nodes of each stage into a namespace, which Kedro-Viz shows as a box that opens.

    Names of data sets stay as they are. A node is called ``<stage>.<name>``; ``kedro run`` takes
    the short name, too.
    """
    stages: dict[str | None, list[Node]] = {}
    for node in pipeline.nodes:
        stage = None if node.namespace else stage_of(node)
        stages.setdefault(stage, []).append(node)
    boxes = (
        Pipeline(nodes, namespace=stage, prefix_datasets_with_namespace=False)
        for stage, nodes in stages.items()
    )
    return sum(boxes, Pipeline([]))
