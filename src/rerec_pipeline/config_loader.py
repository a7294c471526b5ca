"""Kedro's configuration loader, with the three choices laid over the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from rerec_pipeline.configs import folder_of_data
from rerec_pipeline.experiments.grid import LABELLED, LABELS, label_of_changes
from rerec_pipeline.parameters import CHOICES, compose, folder_of_split
from rerec_pipeline.storage.provenance import flatten


class ChoicesConfigLoader(OmegaConfigLoader):
    """Composes and validates ``parameters`` when they are first asked for.

    Blocks of data sets, backbones and variants stand in ``conf/base/parameters/``; those that a
    run chooses are laid over the defaults, the command line over everything. A wrong parameter
    stops the run here, before data is read or a model is loaded.

    Choices may stand in ``globals.yml`` or ``parameters.yml`` of any environment, or on the command
    line; the catalog's paths are made of what the parameters of the run say in the end.
    """

    def __init__(self, conf_source: str, *args: Any, **kwargs: Any):
        self.project_root = Path(conf_source).resolve().parent
        self._defaults: dict[str, Any] = {}
        #: Blocks that another configuration has in addition, e.g. a variant of conf/local.
        self._further_blocks: dict[str, Any] = {}
        self._arguments = {k: v for k, v in kwargs.items() if k not in ("env", "runtime_params")}
        #: The labels (see ``LABELS``) that this run was given because of its parameters.
        self.own_labels: dict[str, str] = {}
        OmegaConf.register_new_resolver("project_root", self.project_root.as_posix, replace=True)
        OmegaConf.register_new_resolver("folder_of_split", folder_of_split, replace=True)
        OmegaConf.register_new_resolver("folder_of_data", folder_of_data, replace=True)
        super().__init__(conf_source, *args, **kwargs)
        self.config_patterns["paths"] = ["paths*"]
        given = self.runtime_params or {}  # label=null is no label, by choice
        labels = {key: given[key] or "" for key in LABELS if key in given}
        self.runtime_params = {**given, **labels}

    def __getitem__(self, key: str) -> dict[str, Any]:
        if key == "catalog":
            _ = self["parameters"]
            OmegaConf.register_new_resolver("paths", dict(self["paths"]).__getitem__, replace=True)
        if key != "parameters" or key in self:
            return super().__getitem__(key)
        self[key] = self._composed()
        self.own_labels = self._labels_of_changes()
        if self.own_labels:
            self.runtime_params = {**(self.runtime_params or {}), **self.own_labels}
            del self[key]
            self[key] = self._composed()  # parameters contain paths, and paths the labels
        return super().__getitem__(key)

    def _composed(self) -> dict[str, Any]:
        self._defaults = super().__getitem__("parameters")
        chosen = {name: self._defaults.get(name, value) for name, value in self._globals.items()}
        if chosen != self._globals:  # what refers to a choice has been filled in with another
            self["globals"], self._globals_oc = chosen, None
            self._defaults = super().__getitem__("parameters")
        for key, blocks in self._further_blocks.items():
            self._defaults[key] = {**blocks, **self._defaults[key]}
        return compose(self._defaults, self.runtime_params or {}, self.project_root)

    def _labels_of_changes(self) -> dict[str, str]:
        """Names of folders for a run whose parameters differ from those of its choices.

        Without them, ``--params rft.budget.rollouts=64`` would replace the policy of the variant,
        and ``--params data.candidates.size=10`` the tables that other runs stand on.
        """
        asked = {k: v for k, v in (self.runtime_params or {}).items() if k != "target"}
        environment = Path(self.conf_source) / (self.env or self.default_run_env)
        local = any(environment.glob("**/parameters*")) or any(environment.glob("**/globals*"))
        changed = [b for b in LABELLED if local or b.split(".")[0] in asked]
        if not changed or set(LABELS) <= set(asked):
            return {}
        now = self.parameters_of_training()
        wanted = [
            name
            for name, blocks in LABELS.items()
            if name not in asked and not now[name] and set(changed) & set(blocks)
        ]
        if not wanted:
            return {}
        chosen: dict[str, Any] = {key: now[key] for key in (*CHOICES, "seed", "split")}
        if now["rft"].teaches_traces:  # without traces the variant could not be composed
            chosen["rft"] = {"sft": {"traces": now["rft"].sft.traces}}
        arguments = {**self._arguments, "default_run_env": self.base_env}
        base = ChoicesConfigLoader(
            str(self.conf_source),
            runtime_params={**chosen, **dict.fromkeys(LABELS, "")},
            **arguments,
        )
        base._further_blocks = {key: self._defaults.get(key) or {} for key in CHOICES.values()}
        try:
            was, now = flatten(base["parameters"]), flatten(now)
            found = {name: label_of_changes(was, now, LABELS[name]) for name in wanted}
            return {name: label for name, label in found.items() if label}
        finally:
            # OmegaConf has one resolver of each name: from here on ours, not the other loader's.
            self._register_globals_resolver()
            self._register_runtime_params_resolver()

    def parameters_of_training(self) -> dict[str, Any]:
        """The parameters with which the policy was trained that this run tests on a target."""
        parameters = self["parameters"]
        if parameters["target"] is None:
            return parameters
        runtime = {k: v for k, v in (self.runtime_params or {}).items() if k != "target"}
        return compose({**self._defaults, "target": None}, runtime, self.project_root)
