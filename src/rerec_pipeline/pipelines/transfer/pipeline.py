"""A policy trained on one data set -> its answers on queries of another."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.pipelines import evaluation
from rerec_pipeline.pipelines.retrieval.pipeline import create_retriever_pipeline
from rerec_pipeline.pipelines.rft.pipeline import create_task_pipeline

#: What the policy's own runs left, under the name it has here -> the name it had there.
TRAINED = {
    f"trained_{name}": name
    for name in ("backbone_record", "start_record", "policy", "training_summary")
}

#: What of the evaluation is made again; curves of training are not the target's.
MADE = ("metrics", "accuracy_plot", "baselines_plot", "transcripts", "transcripts_page")


def create_pipeline() -> Pipeline:
    """The transfer pipeline: the evaluation's nodes, with a policy from elsewhere.

    The backbone's record of what it was pretrained on is checked against the target's splits, as
    that is the data set whose prompts are selected.
    """
    task = create_task_pipeline() + create_retriever_pipeline()
    tested = evaluation.create_pipeline().to_outputs(*MADE) - task
    elsewhere = {name: here for here, name in TRAINED.items()}
    names = {name: elsewhere.get(name, name) for name in tested.inputs()}
    parameters = {name for name in names if name.startswith("param")}
    own = {*parameters, "run_pages"}  # pages of a transfer lie in a folder of their own
    return task + Pipeline(
        tested,
        namespace="transfer",
        inputs={name: names[name] for name in names if name not in own},
        parameters={**{name: name for name in parameters}, "params:dataset": "params:target"},
    )
