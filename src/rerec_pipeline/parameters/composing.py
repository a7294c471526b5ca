"""The chosen blocks and the command line, laid over the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from rerec_pipeline.configs import folder_of_data
from rerec_pipeline.errors import BadParameterError, did_you_mean
from rerec_pipeline.parameters.choices import CHOICES
from rerec_pipeline.parameters.run import check_blocks, validate


def overlay(base: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lays nested mappings over one another; later ones win, key by key."""
    result = deepcopy(dict(base))
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
                result[key] = overlay(result[key], value)
            else:
                result[key] = deepcopy(value)
    return result


def compose(
    defaults: Mapping[str, Any], runtime: Mapping[str, Any], project_root: Path
) -> dict[str, Any]:
    """Lays the three chosen blocks and the command line over the defaults, and validates.

    Where a ``target`` is named, its block takes the place of that of ``dataset``: everything but
    the policy is about the target then.

    Args:
        defaults: Everything under ``conf/base/parameters*``, the blocks of choices included.
        runtime: What ``--params`` said.
        project_root: Folder that relative raw folders are in.

    Returns:
        The parameters of the run by their top-level names, blocks as validated configs.

    Raises:
        BadParameterError: If a choice names no block, or a parameter is unknown or wrong.
    """
    plain = {key: value for key, value in defaults.items() if key not in CHOICES.values()}
    check_blocks(runtime)
    chosen = {choice: runtime.get(choice, plain[choice]) for choice in CHOICES}
    layers = {choice: _block(defaults, choice, name) for choice, name in chosen.items()}
    if (target := _target(plain, runtime, chosen["dataset"])) is not None:
        layers["dataset"] = _block(defaults, "dataset", target, asked_as="target")
    composed = overlay(plain, *layers.values(), runtime)
    worked_on = target or composed["dataset"]
    if composed["data"]["source"] == "fabricated":  # files of another world are other files
        worked_on = folder_of_data(worked_on, composed["data_label"] or "")
    composed["raw_dir"] = _raw_dir(composed["raw_dir"], worked_on, project_root)
    folder = Path(composed["rft"]["checkpoint_dir"])  # without a label, two slashes meet in it
    composed["rft"]["checkpoint_dir"] = folder.as_posix()
    composed["fixed"] = {
        name: None if path is None else _inside(project_root, path)
        for name, path in composed["fixed"].items()
    }
    data = composed["rft"]["reward"]["data"]
    composed["rft"]["reward"]["data"] = {n: _inside(project_root, data[n]) for n in data}
    if recorded := composed["open_ended"]["recorded"]:
        composed["open_ended"]["recorded"] = _inside(project_root, recorded)
    for block in (composed["rft"]["sft"], composed["rft"]["cold_start"]):
        if block["traces"] not in (None, "none", "graph"):
            block["traces"] = _inside(project_root, block["traces"])
    backbone = composed["rft"]["backbone"]
    if backbone["name_or_path"].endswith(".gguf"):
        backbone["name_or_path"] = _inside(project_root, backbone["name_or_path"])
    # The base policy is pretrained on several data sets at once: they get their blocks here, and
    # prompts without the evidence that this run may have.
    worlds = composed["base_policy"]["worlds"]
    bare = {"prompt": {"evidence": 0, "order": "drawn"}}
    composed["base_policy"]["data"] = {
        name: overlay(plain["data"], _block(defaults, "dataset", name)["data"], bare)
        for name in worlds
    }
    composed["base_policy"]["raw_dir"] = {
        name: _raw_dir(None, name, project_root) for name in worlds
    }
    return dict(validate(composed))


def _target(plain: Mapping[str, Any], runtime: Mapping[str, Any], dataset: str) -> str | None:
    """The data set to test on. The catalog, too, must know it, and reads the command line alone."""
    target: str | None = runtime.get("target")
    if plain["target"] != target:
        raise BadParameterError(
            "target can only be given on the command line: --params target=NAME"
        )
    if target is not None and target == dataset:
        raise BadParameterError(
            f"target={target} is the data set that the policy was trained on; the evaluation "
            "pipeline tests it there"
        )
    return target


def _block(
    defaults: Mapping[str, Any], choice: str, name: str, asked_as: str | None = None
) -> dict[str, Any]:
    key = CHOICES[choice]
    blocks = defaults.get(key) or {}
    if not isinstance(name, str) or name not in blocks:
        meant = did_you_mean(str(name), blocks).partition("; there are")[0]
        raise BadParameterError(
            f"{asked_as or choice}={name} names no block{meant or ';'} "
            f"conf/base/parameters/{key}.yml has {', '.join(blocks)}"
        )
    return blocks[name] or {}


def _raw_dir(given: str | None, dataset: str, project_root: Path) -> str:
    if given is not None and not isinstance(given, str | int):
        raise BadParameterError(f"raw_dir={given}: it takes a folder")
    return _inside(project_root, Path("data/01_raw") / dataset if given is None else given)


def _inside(project_root: Path, path: str | Path) -> str:
    return (project_root / str(path)).resolve().as_posix()
