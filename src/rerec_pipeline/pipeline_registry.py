"""Project pipelines."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.pipelines import (
    base_policy,
    data_engineering,
    data_report,
    evaluation,
    graph_modeling,
    next_item,
    rft,
    score_answers,
    score_choices,
    transfer,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Names the pipelines that ``kedro run --pipelines`` knows.

    They are built explicitly: ``find_pipelines()`` gives only the one that is asked for, and
    ``rft`` is registered together with the stages it needs, so that it runs on a fresh clone.
    """
    data = data_engineering.create_pipeline() + data_report.create_pipeline()
    upstream = data + graph_modeling.create_pipeline()
    tuned = upstream + rft.create_pipeline()
    return {
        "__default__": tuned + evaluation.create_pipeline(),
        "data_engineering": data,
        "graph_modeling": graph_modeling.create_pipeline(),
        "rft": tuned,
        "evaluation": evaluation.create_pipeline(),
        "base_policy": base_policy.create_pipeline(),
        "score_answers": score_answers.create_pipeline(),
        "export_prompts": score_choices.create_export_pipeline(),
        "score_choices": score_choices.create_pipeline(),
        "next_item_baselines": next_item.create_baselines_pipeline(),
        "next_item": next_item.create_baselines_pipeline() + next_item.create_pipeline(),
        "transfer": upstream + transfer.create_pipeline(),
    }
