"""Inputs that are missing, or were made with other parameters."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rerec_pipeline import processes, provenance
from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.errors import BadParameterError, MissingStageError
from rerec_pipeline.hooks.suggested import given, suggested
from rerec_pipeline.parameters.backbone import splits_read
from rerec_pipeline.pipelines.transfer.pipeline import TRAINED
from rerec_pipeline.storage.checkpoints import remove_finished
from rerec_pipeline.storage.records import check_replaceable

logger = logging.getLogger(__name__)

#: The stage that makes a data set, in the order in which stages are run.
STAGES = (
    "data_engineering",
    "graph_modeling",
    "retrieval",
    "rft",
    "evaluation",
    "diagnosis",
    "base_policy",
    "score_answers",
    "export_prompts",
    "score_choices",
    "comparison",
    "abilities",
    "abilities_comparison",
    "next_item_baselines",
    "next_item",
    "transfer",
)


class ProvenanceHooks:
    """Stops a run whose inputs are missing or were made with other parameters."""

    def __init__(self) -> None:
        self._root = Path()
        self._parameters: dict[str, Any] = {}
        self._trained_with: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        self._env: str | None = None
        self._catalog: DataCatalog | None = None
        self._whole: Pipeline | None = None
        self._unsaved: dict[str, set[str]] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Validates all parameters before anything else is done."""
        self._root = Path(context.project_path)
        self._parameters = dict(context.config_loader["parameters"])
        assert isinstance(context.config_loader, ChoicesConfigLoader)  # settings.py says so
        self._trained_with = context.config_loader.parameters_of_training()
        self._asked = dict(context.config_loader.runtime_params or {})
        self._env = context.env

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Checks every input that this run does not make itself."""
        _check_target(pipeline, self._parameters["target"])
        _check_backbone(pipeline, self._parameters)
        self._catalog = catalog
        self._whole = sum((pipelines[name] for name in STAGES), Pipeline([]))
        for name in sorted(pipeline.all_outputs()):
            if name in catalog and (path := getattr(catalog.get(name), "_filepath", None)):
                check_replaceable(Path(path))
        for name in sorted(pipeline.inputs()):
            if not name.startswith("params:") and name != "parameters":
                self._check(name, catalog)
        if run_params.get("only_missing_outputs"):
            if processes.is_main():
                self._set_stale_aside(pipeline, catalog)
            processes.wait_for_all("stale outputs")

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Stamps an output with the parameters it was made with."""
        path = self._path(dataset_name)
        if path is not None and processes.is_main():
            provenance.write_stamp(path, self._stamp(dataset_name))
        self._unsaved.setdefault(node.name, set(node.outputs)).discard(dataset_name)
        if not self._unsaved[node.name]:
            remove_finished()

    def _check(self, name: str, catalog: DataCatalog) -> None:
        if not catalog.exists(name):
            raise MissingStageError(self._missing(name, catalog))
        path = self._path(name)
        changed = provenance.differences(path, self._stamp(name)) if path else []
        if name in TRAINED:  # where the raw files of the other data set lay is of no account
            changed = [change for change in changed if not change.startswith("raw_dir ")]
        if changed:
            raise MissingStageError(
                f"'{name}' ({path}) was made with other parameters: {'; '.join(changed)}. "
                f"Make it again with: {self._command(name)}"
            )

    def _missing(self, name: str, catalog: DataCatalog) -> str:
        assert self._whole is not None
        if TRAINED.get(name, name) in self._whole.all_outputs():
            return (
                f"'{name}' has not been made yet for this choice of data set, backbone and "
                f"variant. Make it with: {self._command(name)}"
            )
        path = getattr(catalog.get(name), "_filepath", None)
        missing = f"there is no file {path}" if path else "it was not given"
        return f"'{name}': {missing}. {given(name, self._parameters)}"

    def _set_stale_aside(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """With --only-missing-outputs, an output made with other parameters counts as missing."""
        for name in sorted(pipeline.all_outputs()):
            path = self._path(name)
            if path is None or not path.exists():
                continue
            changed = provenance.differences(path, self._stamp(name))
            if changed:
                logger.warning("'%s' is stale (%s) and is made again", name, "; ".join(changed))
                path.rename(path.with_name(f"{path.name}.stale"))

    def _stamp(self, name: str) -> provenance.Stamp:
        assert self._whole is not None
        behind = provenance.parameters_behind(self._whole, TRAINED.get(name, name))
        parameters = self._trained_with if name in TRAINED else self._parameters
        return provenance.make_stamp(behind, parameters, self._root)

    def _path(self, name: str) -> Path | None:
        """File or folder of a data set that a pipeline makes; None for the rest."""
        assert self._catalog is not None and self._whole is not None
        made = TRAINED.get(name, name) in self._whole.all_outputs()
        if not made or name not in self._catalog:
            return None
        filepath = getattr(self._catalog.get(name), "_filepath", None)
        path = Path(filepath) if filepath is not None else None
        # A file that the user asked for elsewhere is left alone.
        return path if path is not None and path.is_relative_to(self._root) else None

    def _command(self, name: str) -> str:
        asked = dict(self._asked)
        stage = _stage_of(TRAINED.get(name, name))
        if stage != "transfer":  # other stages know one data set
            target = asked.pop("target", None)
            if target is not None and name not in TRAINED:
                asked["dataset"] = target
        return suggested(stage, self._parameters, asked, self._env)


def _check_backbone(pipeline: Pipeline, parameters: dict[str, Any]) -> None:
    """Refuses a backbone that does not read the data set before anything is computed for it."""
    for node in pipeline.nodes:
        if {"params:rft", "params:rft.backbone"} & set(node.inputs):
            for key in {"params:dataset", "params:target"} & set(node.inputs):
                dataset = parameters[key.removeprefix("params:")]
                splits_read(parameters["rft"].backbone.name_or_path, dataset)


def _check_target(pipeline: Pipeline, target: str | None) -> None:
    """A run that tests on another data set says on which; no other run names one."""
    tests = any(name.startswith("transfer.") for name in pipeline.all_outputs())
    if tests and target is None:
        raise BadParameterError(
            "the transfer pipeline tests a policy on another data set: name it with --params "
            "target=NAME (and with dataset=NAME the one that the policy was trained on)"
        )
    if target is not None and not tests:
        raise BadParameterError("target is of the transfer pipeline alone: leave it out")


def _stage_of(name: str) -> str:
    """The smallest registered pipeline that makes a data set."""
    return next((s for s in STAGES if name in pipelines[s].all_outputs()), "__default__")
