"""Inputs that are missing, damaged or made from something else; outputs that are not to be lost."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

import rerec_pipeline
from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.configs import folder_of_data
from rerec_pipeline.errors import BadParameterError, MissingStageError
from rerec_pipeline.hooks.suggested import given, suggested
from rerec_pipeline.parameters.backbone import splits_read
from rerec_pipeline.pipelines.stages import versions_behind
from rerec_pipeline.pipelines.transfer.pipeline import TRAINED
from rerec_pipeline.storage import provenance
from rerec_pipeline.storage.checkpoints import fingerprint, remove_finished
from rerec_pipeline.storage.lock import READ, Claims, Made, exclusive
from rerec_pipeline.storage.records import (
    Origin,
    check_replaceable,
    hash_of,
    outdated,
    problem_of,
    read_record,
    replaced_input,
)

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
    "likelihood",
    "next_item_likelihood",
    "recommend",
    "judge_answers",
    "conversations_baselines",
    "conversations",
    "transfer",
)

#: What takes long to make, so that one made with other parameters is not replaced.
KEPT = "policy"

#: Holds the hashes of the raw files, and follows from where they are.
RAW = "raw_manifest"


class ProvenanceHooks:
    """Stops a run whose inputs are missing, damaged or made from something else."""

    def __init__(self) -> None:
        self._root = Path()
        self._parameters: dict[str, Any] = {}
        self._known: dict[str, Any] = {}
        self._trained_with: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        self._env: str | None = None
        self._catalog: DataCatalog | None = None
        self._whole = Pipeline([])
        self._makers: dict[str, Node] = {}
        self._origins: dict[str, Origin] = {}
        self._unsaved: dict[str, set[str]] = {}
        self._claims: Claims | None = None
        self._own_labels: dict[str, str] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Validates all parameters before anything else is done."""
        self._root = Path(context.project_path)
        self._parameters = dict(context.config_loader["parameters"])
        self._known = provenance.flatten(self._parameters)
        assert isinstance(context.config_loader, ChoicesConfigLoader)  # settings.py says so
        self._trained_with = context.config_loader.parameters_of_training()
        self._asked = dict(context.config_loader.runtime_params or {})
        self._own_labels = context.config_loader.own_labels
        self._env = context.env

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Checks every input that this run does not make itself, and every output it replaces."""
        self._release()
        check_no_launcher()
        _check_target(pipeline, self._parameters["target"])
        _check_backbone(pipeline, self._parameters)
        self._catalog = catalog
        self._whole = sum((pipelines[name] for name in STAGES), Pipeline([]))
        self._makers = {out: node for node in self._whole.nodes for out in node.outputs}
        self._origins, self._unsaved = {}, {}
        for name in sorted(pipeline.all_outputs()):
            if name in catalog and (path := getattr(catalog.get(name), "_filepath", None)):
                check_replaceable(Path(path))
        self._claims = Claims(self._root / "data/.runs")
        self._claims.take(self._places(pipeline))
        inputs = {n for n in pipeline.inputs() if not n.startswith("params:")} - {"parameters"}
        for name in sorted(inputs):
            self._check(name)
        of_data = any(TRAINED.get(name, name) in self._makers for name in inputs)
        if of_data and RAW not in pipeline.all_outputs() and catalog.exists(RAW):
            self._check(RAW)
        self._look_at_outputs(pipeline, bool(run_params.get("only_missing_outputs")))

    @hook_impl
    def before_node_run(self, node: Node, catalog: DataCatalog) -> None:
        """Checks that nothing has been changed meanwhile; notes what the outputs are made from."""
        for name in node.inputs:
            if not name.startswith("param") and self._path(name) is not None:
                self._check(name)
        for name in node.outputs:
            if self._path(name) is not None:
                setattr(catalog.get(name), "origin", self._origin(name, with_inputs=True))  # noqa: B010

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Lets checkpoints go when all that the node has made is on the disk."""
        self._unsaved.setdefault(node.name, set(node.outputs)).discard(dataset_name)
        if not self._unsaved[node.name]:
            remove_finished()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Lets other runs have the folders."""
        self._release()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Lets other runs have the folders."""
        self._release()

    def _release(self) -> None:
        if self._claims is not None:
            self._claims.release()
            self._claims = None

    def _places(self, pipeline: Pipeline) -> dict[str, Made]:
        """The folders that a run works in, whatever the layer, and what it makes there.

        What follows from data, prompts or the untrained backbone is shared by runs that make the
        same of it. A run that makes nothing else has the innermost of these for itself.
        """
        dataset = self._parameters["target"] or self._parameters["dataset"]
        data = folder_of_data(dataset, self._parameters["data_label"])
        prompts = folder_of_data(data, self._parameters["prompt_label"])
        backbone = f"{prompts}/{self._parameters['backbone']}"
        places = (data, prompts, backbone, f"{backbone}/validation")
        shared: dict[str | None, dict[str, str]] = {place: {} for place in places}
        for name in sorted(pipelines["shared_stages"].all_outputs()):  # what runs share
            if (place := self._place(name)) in shared:
                shared[place][name] = fingerprint(dict(self._origin(name).parameters))[:16]
        written = {self._place(name) for name in pipeline.all_outputs()} - {None}
        read = {self._place(name) for name in pipeline.inputs()} - {None}
        own = written - set(shared) or {*[place for place in shared if place in written][-1:]}
        claimed = {p: exclusive() if p in own else shared.get(p, READ) for p in written | read}
        return {str(place): made for place, made in claimed.items()}

    def _place(self, name: str) -> str | None:
        """Folder of an output below its layer; None where there is none, or outside the project."""
        assert self._catalog is not None
        path = None if name.startswith("param") else self._file(name)
        if path is None or not path.is_relative_to(self._root / "data"):
            return None
        return "/".join(path.relative_to(self._root / "data").parts[1:-1]) or None

    def _check(self, name: str) -> None:
        assert self._catalog is not None
        if not self._catalog.exists(name):
            raise MissingStageError(self._missing(name))
        path = self._path(name)
        if path is not None and (problem := self._problem(name, path)):
            raise MissingStageError(
                f"'{name}' ({path}) {problem}. Make it again with: {self._command(name)}"
            )

    def _problem(self, name: str, path: Path) -> str:
        """Why an output of an earlier run can not be used in this one; empty if it can."""
        if problem := problem_of(path):
            return problem
        record = read_record(path)
        if record is None or record.origin is None:
            return "has no record of what it was made from"
        if why := outdated(record.origin, self._origin(name), self._known):
            return why
        if (replaced := replaced_input(path)) is not None:
            return f"was made from another {replaced.relative_to(self._root)} than is there now"
        return ""

    def _look_at_outputs(self, pipeline: Pipeline, only_missing: bool) -> None:
        """Keeps a policy made with other parameters; says what is replaced.

        With --only-missing-outputs, an output that can not be used counts as missing.
        """
        assert self._catalog is not None
        for name in sorted(pipeline.all_outputs()):
            path = self._path(name)
            if path is None or not path.exists() or not (problem := self._problem(name, path)):
                continue
            if name == KEPT and problem.startswith(("was made with", "was made by")):
                raise BadParameterError(
                    f"'{name}' ({path}) {problem}. It is not replaced: give this run a folder of "
                    "its own with --params label=NAME, or delete that one"
                )
            if only_missing:
                setattr(self._catalog.get(name), "stale", True)  # noqa: B010
            logger.warning("'%s' %s and is made again", name, problem)

    def _missing(self, name: str) -> str:
        if TRAINED.get(name, name) in self._makers:
            return (
                f"'{name}' has not been made yet for this choice of data set, backbone and "
                f"variant. Make it with: {self._command(name)}"
            )
        assert self._catalog is not None
        path = getattr(self._catalog.get(name), "_filepath", None)
        missing = f"there is no file {path}" if path else "it was not given"
        return f"'{name}': {missing}. {given(name, self._parameters)}"

    def _origin(self, name: str, with_inputs: bool = False) -> Origin:
        """What an output is made from: parameters and code, and what is there to be read now."""
        made = TRAINED.get(name, name)
        if name not in self._origins:
            names = provenance.parameters_behind(self._whole, made)
            parameters = self._trained_with if name in TRAINED else self._parameters
            stamp = provenance.make_stamp(names, parameters, self._root)
            self._origins[name] = Origin(stamp, {}, versions_behind(self._whole, made))
        origin = self._origins[name]
        if not with_inputs:
            return origin
        folder = Path(str(self._path(name))).parent
        inputs = {os.path.relpath(p, folder): hash_of(p) for p in self._sources(made) if p.exists()}
        # The hash is there to be read: what counts is versions.
        code = provenance.hash_of_code(Path(rerec_pipeline.__file__).parent)
        return Origin(origin.parameters, inputs, {**origin.code, rerec_pipeline.__name__: code})

    def _sources(self, name: str) -> Iterator[Path]:
        """Files that the node of an output reads, or that are behind what it reads."""
        for read in self._makers[name].inputs:
            if read.startswith("param"):
                continue
            if (path := self._file(read)) is not None:
                yield path
            elif read in self._makers:
                yield from self._sources(read)

    def _file(self, name: str) -> Path | None:
        assert self._catalog is not None
        filepath = getattr(self._catalog.get(name), "_filepath", None)
        return Path(filepath) if filepath is not None else None

    def _path(self, name: str) -> Path | None:
        """File or folder of a data set that a pipeline makes; None for the rest."""
        assert self._catalog is not None
        if TRAINED.get(name, name) not in self._makers or name not in self._catalog:
            return None
        path = self._file(name)
        # A file that the user asked for elsewhere is left alone.
        return path if path is not None and path.is_relative_to(self._root) else None

    def _command(self, name: str) -> str:
        asked, parameters = dict(self._asked), self._parameters
        for label in self._own_labels:  # they follow from what else was asked
            asked.pop(label, None)
            parameters = {**parameters, label: ""}
        stage = _stage_of(TRAINED.get(name, name))
        if stage != "transfer":  # other stages know one data set
            target = asked.pop("target", None)
            if target is not None and name not in TRAINED:
                asked["dataset"] = target
        return suggested(stage, parameters, asked, self._env)


def _check_backbone(pipeline: Pipeline, parameters: dict[str, Any]) -> None:
    """Refuses a backbone that does not read the data set before anything is computed for it."""
    for node in pipeline.nodes:
        if {"params:rft", "params:rft.backbone"} & set(node.inputs):
            for key in {"params:dataset", "params:target"} & set(node.inputs):
                dataset = parameters[key.removeprefix("params:")]
                splits_read(parameters["rft"].backbone.name_or_path, dataset)


def check_no_launcher() -> None:
    """Kedro runs in one process, which starts others itself.

    Raises:
        BadParameterError: If a launcher has started several.
    """
    if (ranks := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise BadParameterError(
            f"a launcher has started kedro {ranks} times, which runs in one process: leave the "
            f"launcher out and add --params launch.preset=ddp,launch.processes={ranks}"
        )


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
