"""What an experiment has to know of the project: configurations, files, commands, results."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from kedro.framework.project import pipelines, settings

import rerec_pipeline
from rerec_pipeline.configs import folder_of_data
from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.experiments.grid import Cell, Changes, read_params
from rerec_pipeline.pipelines.stages import versions_behind
from rerec_pipeline.runner.records import read_json
from rerec_pipeline.storage.provenance import (
    code_of,
    flatten,
    make_stamp,
    parameters_behind,
    parameters_read,
)
from rerec_pipeline.storage.records import (
    Origin,
    hash_of,
    outdated,
    problem_of,
    read_record,
    replaced_input,
)

if TYPE_CHECKING:
    from rerec_pipeline.tracking import MlflowClient

#: Modules that a cell imports by names in configuration, which its nodes do not import.
_BY_NAME = (
    "rerec_pipeline.settings",
    "rerec_pipeline.storage.datasets",
    "rerec_pipeline.storage.engine",
    "rerec_pipeline.models.policy",
    "rerec_pipeline.recbench.schemas",
)


class Project:
    """A Kedro project as an experiment sees it.

    Args:
        root: The project's folder.
    """

    def __init__(self, root: Path):
        self.root = root
        self._parameters: dict[str, dict[str, Any]] = {}
        self._files: dict[str, dict[str, Path]] = {}

    def read(self, key: str) -> dict[str, Any]:
        """A part of ``conf``, without the context and the hooks that a run needs."""
        return dict(self._loader({})[key])

    def parameters(self, text: str) -> dict[str, Any]:
        """What ``kedro run --params TEXT`` would run with; blocks as validated configs.

        Raises:
            BadParameterError: If a parameter is unknown or wrong.
        """
        if text not in self._parameters:
            loader = self._loader(read_params(text))
            self._parameters[text] = dict(loader["parameters"])
        return self._parameters[text]

    def labels(self, text: str) -> dict[str, str]:
        """The labels that ``kedro run --params TEXT`` gets by itself, because of its parameters."""
        loader = self._loader(read_params(text))
        return dict(loader.own_labels) if loader["parameters"] else {}

    def files(self, text: str) -> dict[str, Path]:
        """Data set -> the file or folder that ``kedro run --params TEXT`` would have for it."""
        if text not in self._files:
            loader = self._loader(read_params(text))
            paths = {name: _filepath(entry) for name, entry in loader["catalog"].items()}
            # They were composed for the catalog, which takes as long as all the rest of it.
            self._parameters.setdefault(text, dict(loader["parameters"]))
            self._files[text] = {n: self.root / p for n, p in paths.items() if p is not None}
        return self._files[text]

    def _loader(self, runtime: Mapping[str, Any]) -> Any:
        return settings.CONFIG_LOADER_CLASS(
            str(self.root / settings.CONF_SOURCE),
            env=os.environ.get("KEDRO_ENV"),
            runtime_params=runtime,
            **settings.CONFIG_LOADER_ARGS,
        )

    def _code(self) -> dict[str, str]:
        """The source that a process started now would import."""
        package = Path(rerec_pipeline.__file__).parent
        nodes = {node.func.__module__ for node in pipelines["single_run"].nodes}
        lock = self.root / "requirements.lock"
        versions = {lock.name: hash_of(lock)} if lock.is_file() else {}
        return {**code_of(package, frozenset({*nodes, *_BY_NAME})), **versions}

    def missing_shared_stages(self, text: str) -> list[str]:
        """What all cells share and has not been made, or has been made with other parameters."""
        files, parameters = self.files(text), self.parameters(text)
        known = self.flat_parameters(text)
        return [
            name
            for name in sorted(pipelines["shared_stages"].all_outputs())
            if (path := files.get(name)) is not None
            and not self._is_good(name, path, parameters, known)
        ]

    def _is_good(
        self, name: str, path: Path, parameters: Mapping[str, Any], known: Container[str]
    ) -> bool:
        """Whether an output is what its record says, and made from what there is."""
        if problem_of(path) or replaced_input(path) is not None:
            return False
        record = read_record(path)
        if record is None or record.origin is None:
            return False
        versions = versions_behind(pipelines["__default__"], name)
        now = Origin(self._stamp({name}, parameters), {}, versions)
        return not outdated(record.origin, now, known)

    def _stamp(self, outputs: Iterable[str], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Flat values of the parameters on the way to some outputs."""
        whole = pipelines["__default__"]
        names = set[str]().union(*(parameters_behind(whole, name) for name in outputs))
        return make_stamp(names, parameters, self.root)

    def shared_parameters(self, text: str) -> dict[str, Any]:
        """Flat values of all parameters that the shared stages are made with."""
        names = parameters_read(pipelines["shared_stages"])
        return make_stamp(names, self.parameters(text), self.root)

    def flat_parameters(self, text: str) -> dict[str, Any]:
        """All parameters of a configuration by their flat names."""
        return flatten(self.parameters(text))

    def fingerprint(self, cell: Cell, further: Changes) -> Origin:
        """What the results of a cell follow from."""
        files, parameters = self.files(cell.settings()), self.parameters(cell.settings(further))
        shared = {
            name: hash_of(files[name]) for name in pipelines["single_run"].inputs() if name in files
        }
        backbone = Path(parameters["rft"].backbone.name_or_path)
        if backbone.exists():
            shared["backbone"] = hash_of(backbone)
        stamp = self._stamp(self._made_by_cells(files), parameters)
        return Origin(stamp, shared, self._code())

    @staticmethod
    def _made_by_cells(files: Mapping[str, Path]) -> list[str]:
        return [name for name in sorted(pipelines["single_run"].all_outputs()) if name in files]

    def outputs(self, cell: Cell) -> list[Path]:
        """The files and folders that a finished cell has left."""
        files = self.files(cell.settings())
        return [files[name] for name in self._made_by_cells(files)]

    def checkpoints(self, cell: Cell) -> Path:
        """The folder of checkpoints of an unfinished training."""
        return Path(self.parameters(cell.settings())["rft"].checkpoint_dir)

    def is_supervised(self, cell: Cell) -> bool:
        """Whether a cell's compute is a parameter, and not what rollouts come to."""
        return str(self.parameters(cell.settings())["rft"].algorithm).startswith("sft")

    def command(self, pipeline: str, text: str, *options: str) -> list[str]:
        """What runs a pipeline in a process of its own."""
        run = ["-m", "kedro", "run", "--pipelines", pipeline, *options, "--params", text]
        return [sys.executable, *run]

    def results(self, cell: Cell) -> dict[str, Any]:
        """The report of a finished cell.

        Raises:
            FileNotFoundError: If there is none.
        """
        path = self.files(cell.settings())["metrics"]
        content = read_json(path)
        if content is None:
            raise FileNotFoundError(path)
        return dict(content)

    def peak_memory(self, dataset: str, backbone: str) -> int | None:
        """Most bytes that a finished run of a backbone has held; None if none has said."""
        folder = self.root / "data/07_model_output" / dataset / backbone
        found = [read_json(path) for path in folder.rglob("training_summary.json")]
        return max(
            (s["peak_memory_bytes"] for s in found if "peak_memory_bytes" in s), default=None
        )

    @cached_property
    def mlflow(self) -> MlflowClient:
        """The tracking store that runs of this project write to."""
        from rerec_pipeline.tracking import client_of

        return client_of(self.read("mlflow"))

    def add_to_group(self, run_id: str | None, group: str) -> None:
        """Makes the MLflow run of a finished cell one of another experiment, too."""
        from rerec_pipeline.tracking import add_to_group

        add_to_group(self.mlflow, run_id, group)


def available_memory() -> int:
    """Bytes that are free: of the GPU where there is one, else of the machine."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def check_shared(project: Project, texts: Sequence[str]) -> None:
    """Checks that all cells stand on the same shared stages.

    Raises:
        BadParameterError: Naming the parameters that would change it.
    """
    first, *others = [_apart_from_label(project, text) for text in dict.fromkeys(texts)]
    changed = sorted({key for other in others for key in first if other.get(key) != first[key]})
    if changed:
        raise BadParameterError(
            f"{', '.join(changed)}: what is made with these is shared by all cells, so they can "
            "not differ between cells; give them with --params, in an experiment for each value"
        )


def _filepath(entry: Any) -> str | None:
    """The file of a catalog entry; None for what has none, and for patterns."""
    if not isinstance(entry, Mapping):
        return None
    inner = entry.get("dataset")
    path = entry.get("filepath") or (inner.get("filepath") if isinstance(inner, Mapping) else None)
    return None if path is None or "{" in path else str(path)


def _apart_from_label(project: Project, text: str) -> dict[str, Any]:
    """Shared parameters of a cell, without the folder names that follow from the others."""
    labels = (project.parameters(text)[f"{of}_label"] for of in ("data", "prompt"))
    data, prompts = (folder_of_data("", label) for label in labels)
    return {
        key: value.replace(data + prompts, "").replace(data, "")
        if isinstance(value, str)
        else value
        for key, value in project.shared_parameters(text).items()
    }
