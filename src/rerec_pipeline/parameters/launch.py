"""Block about the processes that train and answer."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from omegaconf import OmegaConf
from pydantic import Field, model_validator

from rerec_pipeline.configs import Config, SettingError
from rerec_pipeline.errors import did_you_mean

#: The preset that is not launched here: a job for a cluster is written, and submitted by hand.
SUBMITTED = "multi_node"


class LaunchParameters(Config):
    """How many processes train and answer, and how they share the work; no result depends on it.

    Attributes:
        preset: Name of an accelerate configuration in ``configs``, without its ending; null trains
            and answers in the process that runs Kedro.
        processes: Number of processes over all machines: one for each GPU.
        configs: Folder of accelerate configurations.
        jobs: Folder in which answering leaves its jobs while they run; that of a training is beside
            its checkpoints.
    """

    preset: str | None
    processes: int = Field(ge=1)
    configs: str
    jobs: str

    @property
    def config_file(self) -> Path:
        """The accelerate configuration of the preset."""
        return Path(self.configs) / f"{self.preset}.yaml"

    @property
    def submitted(self) -> bool:
        """Whether the job is submitted to a cluster by hand."""
        return self.preset == SUBMITTED

    @model_validator(mode="after")
    def _the_preset_can_be_used(self) -> LaunchParameters:
        if self.preset is None:
            if self.processes > 1:
                raise SettingError("processes", "more than one process needs a launch.preset")
            return self
        if not self.config_file.is_file():
            known = [path.stem for path in Path(self.configs).glob("*.yaml")]
            hint = did_you_mean(self.preset, known)
            raise SettingError("preset", f"there is no preset '{self.preset}'{hint}")
        kind = OmegaConf.select(OmegaConf.load(self.config_file), "distributed_type")
        if kind == "DEEPSPEED" and not self.submitted and find_spec("deepspeed") is None:
            raise SettingError("preset", "deepspeed is not installed: pip install deepspeed")
        return self
