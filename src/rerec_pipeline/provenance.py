"""Which parameters an output was made with, so that a stale one is noticed and not used.

Beside every output stands a stamp, ``.stamps/<name>.json``: the values of all parameters that any
step on the way to it reads. Before a pipeline reads an output of an earlier run, its stamp is
compared with the parameters of this run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline
from pydantic import BaseModel

from rerec_pipeline.storage.writing import write_bytes

Stamp = dict[str, Any]

_PREFIX = "params:"


def parameters_behind(pipeline: Pipeline, dataset: str) -> set[str]:
    """Names of the parameters that any node on the way to a data set reads."""
    return parameters_read(pipeline.to_outputs(dataset))


def parameters_read(pipeline: Pipeline) -> set[str]:
    """Names of the parameters that any node of a pipeline reads."""
    return {n.removeprefix(_PREFIX) for n in pipeline.inputs() if n.startswith(_PREFIX)}


def make_stamp(names: set[str], parameters: Mapping[str, Any], root: Path) -> Stamp:
    """Values of some parameters, flat, with the project's own folder left out of paths."""
    chosen: dict[str, Any] = {}
    for name in sorted(names):
        value: Any = parameters
        for part in name.split("."):
            value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        chosen[name] = value
    return {name: plain(value, root) for name, value in flatten(chosen).items()}


def plain(value: Any, root: Path) -> Any:
    """A parameter as it is the same on every machine: no models, and paths without the project."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: plain(inner, root) for key, inner in value.items()}
    return value.replace(root.as_posix(), ".") if isinstance(value, str) else value


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters as they are written after ``--params``: names with dots."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        if isinstance(plain, Mapping):
            flat |= flatten(plain, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = plain
    return flat


def stamp_path(output: Path) -> Path:
    """Where the stamp of an output stands."""
    return output.parent / ".stamps" / f"{output.name}.json"


def write_stamp(output: Path, stamp: Stamp) -> None:
    """Writes the stamp of an output that has just been saved."""
    write_bytes(stamp_path(output), json.dumps(stamp, indent=1, sort_keys=True).encode())


def differences(output: Path, stamp: Stamp) -> list[str]:
    """What an output was made with that is different now; empty if nothing is.

    An output without a stamp was not made by this project and is taken as it is.
    """
    target = stamp_path(output)
    if not target.is_file():
        return []
    made_with = json.loads(target.read_text())
    now = json.loads(json.dumps(stamp))
    return [
        f"{key} was {made_with.get(key, '(unset)')!r}, is {now.get(key, '(unset)')!r}"
        for key in sorted(set(made_with) | set(now))
        if made_with.get(key, "(unset)") != now.get(key, "(unset)")
    ]
