"""What an output is made from: the parameters that steps on the way to it read, and the code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline
from pydantic import BaseModel

from rerec_pipeline.storage.records import hash_content
from rerec_pipeline.storage.sources import imported_files

_PREFIX = "params:"
_PLACE = "raw_dir"
#: How many processes make something is no part of what it is made from.
_LAUNCH = "launch"
#: Parameters that may name a file of the user's: its content counts, beside its name.
_FILES = ("fixed.", "rft.sft.traces", "rft.cold_start.traces", "rft.reward.data.")


def parameters_behind(pipeline: Pipeline, dataset: str) -> set[str]:
    """Names of the parameters that any node on the way to a data set reads.

    Where raw files are counts for nothing but the list of them, which holds their hashes.
    """
    behind = pipeline.to_outputs(dataset)
    own = Pipeline([node for node in behind.nodes if dataset in node.outputs])
    return parameters_read(behind) - {_PLACE} | (parameters_read(own) & {_PLACE})


def parameters_read(pipeline: Pipeline) -> set[str]:
    """Names of the parameters that any node of a pipeline reads."""
    read = {n.removeprefix(_PREFIX) for n in pipeline.inputs() if n.startswith(_PREFIX)}
    return read - {_LAUNCH}


def make_stamp(names: set[str], parameters: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Values of some parameters, flat, with the project's own folder left out of paths.

    Where checkpoints lie is no part of what is made. Behind the name of a user's file stands the
    hash of its content, so that a changed one is noticed.
    """
    chosen: dict[str, Any] = {}
    for name in sorted(names):
        value: Any = parameters
        for part in name.split("."):
            value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        chosen[name] = value
    flat = {k: v for k, v in flatten(chosen).items() if not k.endswith("checkpoint_dir")}
    return {
        name: plain(value, root) + _content(value) if _is_file(name, value) else plain(value, root)
        for name, value in flat.items()
    }


def _is_file(name: str, value: Any) -> bool:
    return name.startswith(_FILES) and isinstance(value, str) and Path(value).is_file()


def _content(file: str) -> str:
    stat = Path(file).stat()
    return f" ({_hash_of_seen(file, stat.st_size, stat.st_mtime_ns, stat.st_ino)})"


@lru_cache(maxsize=256)
def _hash_of_seen(file: str, *_seen: int) -> str:
    """A file is read once: what is changed looks different."""
    return hash_content(Path(file))[:12]


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


@cache
def hash_of_code(package: Path) -> str:
    """One hash of all source files of a package."""
    files = sorted(package.rglob("*.py"))
    lines = (f"{file.relative_to(package).as_posix()} {hash_content(file)}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@cache
def code_of(package: Path, modules: frozenset[str]) -> dict[str, str]:
    """Source file -> hash of its content, of all files that some modules import on the way."""
    files = imported_files(package, modules)
    return {file.relative_to(package).as_posix(): hash_content(file) for file in files}
