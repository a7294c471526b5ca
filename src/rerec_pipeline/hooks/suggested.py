"""The commands that messages suggest: each works when it is pasted."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.experiments.grid import write
from rerec_pipeline.parameters import run_choices
from rerec_pipeline.storage.provenance import flatten

#: Inputs that no run of a pipeline makes -> how they come about.
GIVEN = {
    "recorded_answers": "Give your answers with --params answers=FILE: JSON lines with id and "
    "response",
    "request_file": "Give your requests with --params requests=FILE: JSON lines with request",
    "experiment_cells": "Run an experiment first (kedro experiment --name {experiment}), or name "
    "another one with --params experiment=NAME",
    "ability_reports": "Make a report first, with: kedro run --pipelines abilities",
}


def given(name: str, parameters: Mapping[str, Any]) -> str:
    """How an input comes about that no pipeline makes."""
    of_cells = "experiment_cells" if name.startswith("cell_") else name
    return GIVEN.get(of_cells, "No pipeline makes it").format(experiment=parameters["experiment"])


def suggested(
    stage: str, parameters: Mapping[str, Any], asked: Mapping[str, Any], env: str | None
) -> str:
    """A command that runs a stage with what this run was given.

    Args:
        stage: A registered pipeline.
        parameters: All parameters of this run.
        asked: What of them was given on the command line, with what is to be given instead.
        env: The configuration environment of this run.

    Returns:
        The command. If the raw files are not where this run looks for them, it says ``DIR`` in
        their place, and the sentence behind it says what that is.
    """
    values = {**run_choices(parameters), **flatten(asked)}
    data, hint = parameters["data"], ""
    if data.source == "published" and not Path(parameters["raw_dir"]).is_dir():
        values["raw_dir"] = "DIR"
        hint = f", where DIR is the folder that holds dataset/{data.domain}"
    said = ",".join(_said(key, value) for key, value in values.items())
    words = ["kedro", "run", "--pipelines", stage, "--params", said]
    return shlex.join(words + (["--env", env] if env else [])) + hint


def _said(key: str, value: Any) -> str:
    try:
        return write({key: value})
    except (BadParameterError, TypeError):  # given by a script: no run is to fail for a command
        return f"{key}={value}"
