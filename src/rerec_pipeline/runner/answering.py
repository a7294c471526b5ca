"""An assistant from what the pipelines of this project have left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.numpy import load_file

from rerec_pipeline.assistant.assistant import Assistant, Reasoner
from rerec_pipeline.errors import MissingStageError
from rerec_pipeline.grounding.ranking import TreeRanker
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.grounding.tables import retriever_from_tables
from rerec_pipeline.models.quick_start import import_transformers, quick_start
from rerec_pipeline.parameters import policy_name
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.runner.workplace import Workplace

_TABLES = (
    "items", "attribute_graph", "item_popularity", "group_popularity", "queries", "splits",
)  # fmt: skip
_NEEDED = (*_TABLES, "lightgcn_embeddings", "ranker")


def load_assistant(
    root: Path, params: str, policy: str | None, say: Callable[[str], None]
) -> Assistant:
    """Loads catalogue, graphs, ranker and a policy.

    Args:
        root: The project.
        params: As of ``kedro run --params``.
        policy: ``trained``, ``base`` or ``graph``; None takes the trained policy, or, where there
            is none, the backbone.
        say: Told which policy answers, if that is not the one that one would expect.

    Raises:
        MissingStageError: If a pipeline has to run first; names the command.
    """
    place = Workplace(root)
    files, parameters = place.files(params), place.parameters(params)
    command = f"kedro run --pipelines {{}}{f' --params {params}' if params else ''}"
    missing = [name for name in _NEEDED if not files[name].exists()]
    if missing:
        raise MissingStageError(
            f"the assistant needs '{missing[0]}', which has not been made yet. Make it with: "
            + command.format("retrieval")
        )
    with quick_start():
        try:
            retriever = _retriever(files, parameters)
        except ValueError as error:  # a ranker of other features
            raise MissingStageError(
                f"{files['ranker']}: {error}, with: {command.format('retrieval')}"
            ) from None
        task = RecTask(retriever.linker.catalogue, parameters["data"].prompt)
        reasoner = None
        if policy != "graph":
            reasoner = _reasoner(files, parameters, policy, say, command.format("rft"))
    return Assistant(task, retriever, reasoner)


def _retriever(files: Mapping[str, Path], parameters: Mapping[str, Any]) -> Retriever:
    retrieval = parameters["retrieval"]
    retriever = retriever_from_tables(
        **{name: pd.read_parquet(files[name]) for name in _TABLES},
        embeddings=load_file(files["lightgcn_embeddings"])["items"],
        pool=retrieval.pool,
        neighbours=retrieval.neighbours,
    )
    return retriever.ordered_by(TreeRanker(files["ranker"].read_text(encoding="utf-8")))


def _reasoner(
    files: Mapping[str, Path],
    parameters: Mapping[str, Any],
    policy: str | None,
    say: Callable[[str], None],
    command: str,
) -> Reasoner:
    import_transformers()
    from rerec_pipeline.models.backbone import load_backbone
    from rerec_pipeline.models.reasoner import PolicyReasoner

    rft = parameters["rft"]
    trained = files["policy"]
    if policy == "trained" and not trained.exists():
        raise MissingStageError(f"there is no trained policy yet. Make it with: {command}")
    if policy != "base" and trained.exists():
        backbone, name = load_backbone(str(trained)), policy_name(parameters)
    else:
        if policy is None:
            say(f"There is no trained policy: the backbone answers as it is. Train with: {command}")
        backbone = load_backbone(
            rft.backbone.name_or_path, rft.backbone.dtype, rft.backbone.template_values
        )
        name = f"{parameters['backbone']} (not trained)"
    return PolicyReasoner(backbone, name, rft.generation.max_completion_tokens)
