"""Blocks about the base policy of the built-in sample."""

from __future__ import annotations

from pydantic import Field, field_validator

from rerec_pipeline.configs import DOCUMENT_KINDS, Habits
from rerec_pipeline.parameters.data import DataParameters
from rerec_pipeline.parameters.pretraining import PretrainingParameters, StageParameters
from rerec_pipeline.recbench.splits import Split


class BasePolicyStageParameters(StageParameters):
    """One stage of pretraining the base policy."""

    kinds = DOCUMENT_KINDS


class BasePolicyParameters(PretrainingParameters):
    """How the sample's base policy is pretrained.

    Attributes:
        worlds: Data set -> share of the documents that are about it.
        data: Data set -> its parameters; filled in from the data sets' blocks.
        raw_dir: Data set -> its raw folder; filled in.
        hold_out: Splits whose (need, item) pairs no document may tell.
        habits: How well the naive reasoner decides.
        stages: Stages of its pretraining, in order.
        checkpoint_dir: Folder of the checkpoints of an unfinished pretraining.
    """

    worlds: dict[str, float]
    data: dict[str, DataParameters]
    raw_dir: dict[str, str]
    hold_out: list[Split]
    habits: Habits
    stages: list[BasePolicyStageParameters] = Field(min_length=1)
    checkpoint_dir: str

    @field_validator("hold_out")
    @classmethod
    def _evaluation_is_held_out(cls, value: list[str]) -> list[str]:
        if missing := sorted({"validation", "test"} - set(value)):
            raise ValueError(f"must name {missing}: a backbone that has seen them measures nothing")
        return value
