"""The assistant that an MLflow run has left as a model, and traces of what is asked of another."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from rerec_pipeline.assistant.assistant import Answer, Assistant, Request
from rerec_pipeline.assistant.loading import Settings, load_assistant
from rerec_pipeline.errors import MissingStageError
from rerec_pipeline.tracking.model import NAME
from rerec_pipeline.tracking.store import address
from rerec_pipeline.tracking.tracing import traced


def load_logged(configuration: Mapping[str, Any], run: str) -> Assistant:
    """The assistant of a run.

    Args:
        configuration: ``mlflow.yml``.
        run: The id of a run that has trained a policy.

    Raises:
        MissingStageError: If MLflow has no such run, or the run has left no assistant.
    """
    _use_store(configuration)
    try:
        with patch.dict(os.environ, {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}):
            folder = Path(mlflow.artifacts.download_artifacts(f"runs:/{run}/{NAME}"))
    except MlflowException as error:
        said = str(error).splitlines()[0]
        raise MissingStageError(f"--run {run}: MLflow has no such assistant ({said})") from None
    flavor = Model.load(folder).flavors["python_function"]
    files = {name: folder / entry["path"] for name, entry in flavor["artifacts"].items()}
    return load_assistant(files, Settings.model_validate(flavor["config"]))


def traced_here(
    configuration: Mapping[str, Any], assistant: Assistant
) -> Callable[[Sequence[Request]], list[Answer]]:
    """Answers, and leaves a trace of each batch in the experiment of ``mlflow.yml``."""
    _use_store(configuration)
    mlflow.set_experiment(configuration["tracking"]["experiment"]["name"])
    return traced(assistant)


def _use_store(configuration: Mapping[str, Any]) -> None:
    server = configuration.get("server") or {}
    mlflow.set_tracking_uri(address(server.get("mlflow_tracking_uri") or ""))
