"""Kedro's configuration loader, with the three choices laid over the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from rerec_pipeline.parameters import compose, folder_of_split


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
        OmegaConf.register_new_resolver("project_root", self.project_root.as_posix, replace=True)
        OmegaConf.register_new_resolver("folder_of_split", folder_of_split, replace=True)
        super().__init__(conf_source, *args, **kwargs)

    def __getitem__(self, key: str) -> dict[str, Any]:
        if key == "catalog":
            _ = self["parameters"]
        if key != "parameters" or key in self:
            return super().__getitem__(key)
        self._defaults = super().__getitem__(key)
        chosen = {name: self._defaults.get(name, value) for name, value in self._globals.items()}
        if chosen != self._globals:  # what refers to a choice has been filled in with another
            self["globals"], self._globals_oc = chosen, None
            self._defaults = super().__getitem__(key)
        self[key] = compose(self._defaults, self.runtime_params or {}, self.project_root)
        return super().__getitem__(key)

    def parameters_of_training(self) -> dict[str, Any]:
        """The parameters with which the policy was trained that this run tests on a target."""
        parameters = self["parameters"]
        if parameters["target"] is None:
            return parameters
        runtime = {k: v for k, v in (self.runtime_params or {}).items() if k != "target"}
        return compose({**self._defaults, "target": None}, runtime, self.project_root)
