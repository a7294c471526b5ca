"""An assistant from what the pipelines of this project have left."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rerec_pipeline.assistant.assistant import Assistant, Reasoner
from rerec_pipeline.assistant.loading import NEEDED, load_retriever
from rerec_pipeline.errors import MissingStageError
from rerec_pipeline.models.quick_start import import_transformers, quick_start
from rerec_pipeline.parameters import policy_name
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.runner.project import Project

#: Where the token for the server of a remote policy is looked for.
POLICY_TOKEN = "REREC_POLICY_TOKEN"


def load_assistant(
    root: Path,
    params: str,
    policy: str | None,
    say: Callable[[str], None],
    url: str | None = None,
    model: str | None = None,
) -> Assistant:
    """Loads catalogue, graphs, ranker and a policy.

    Args:
        root: The project.
        params: As of ``kedro run --params``.
        policy: ``trained``, ``base`` or ``graph``; None takes the trained policy, or, where there
            is none, the backbone.
        say: Told which policy answers, if that is not the one that one would expect.
        url: An OpenAI-compatible server that has the policy, in place of one here.
        model: What that server calls the policy; None takes the first that it names.

    Raises:
        RemoteError: If that server does not answer.
        MissingStageError: If a pipeline has to run first; names the command.
    """
    project = Project(root)
    files, parameters = project.files(params), project.parameters(params)
    missing = [name for name in NEEDED if not files[name].exists()]
    if missing:
        raise MissingStageError(
            f"the assistant needs '{missing[0]}', which has not been made yet. Make it with: "
            + _command("retrieval", params)
        )
    with quick_start():
        try:
            retrieval = parameters["retrieval"]
            retriever = load_retriever(files, retrieval.pool, retrieval.neighbours)
        except ValueError as error:  # a ranker of other features
            raise MissingStageError(
                f"{files['ranker']}: {error}, with: {_command('retrieval', params)}"
            ) from None
        task = RecTask(retriever.linker.catalogue, parameters["data"].prompt)
        reasoner: Reasoner | None = None
        if url is not None:
            from rerec_pipeline.models.remote import RemoteReasoner

            limit = parameters["rft"].generation.max_completion_tokens
            reasoner = RemoteReasoner(url, limit, os.environ.get(POLICY_TOKEN), model)
        elif policy != "graph":
            reasoner = _reasoner(files, parameters, policy, say, _command("rft", params))
    constrained = parameters["rft"].constrained
    return Assistant(task, retriever, reasoner, constrained=constrained)


def _command(pipeline: str, params: str) -> str:
    """What makes what is missing, as one types it in a shell."""
    return f"kedro run --pipelines {pipeline}{f' --params {shlex.quote(params)}' if params else ''}"


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
