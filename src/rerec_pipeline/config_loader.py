"""Kedro's configuration loader, with the three choices laid over the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from rerec_pipeline.parameters import compose


class ChoicesConfigLoader(OmegaConfigLoader):
    """Composes and validates ``parameters`` when they are first asked for.

    Blocks of data sets, backbones and variants stand in ``conf/base/parameters/``; those that a
    run chooses are laid over the defaults, the command line over everything. A wrong parameter
    stops the run here, before data is read or a model is loaded.
    """

    def __init__(self, conf_source: str, *args: Any, **kwargs: Any):
        self.project_root = Path(conf_source).resolve().parent
        OmegaConf.register_new_resolver("project_root", self.project_root.as_posix, replace=True)
        super().__init__(conf_source, *args, **kwargs)

    def __getitem__(self, key: str) -> dict[str, Any]:
        if key != "parameters" or key in self:
            return super().__getitem__(key)
        self[key] = compose(super().__getitem__(key), self.runtime_params or {}, self.project_root)
        return super().__getitem__(key)
