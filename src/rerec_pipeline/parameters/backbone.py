"""Blocks about the language model that is fine-tuned, and about one made from scratch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from rerec_pipeline.configs import Config
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.parameters.pretraining import PretrainingParameters, StageParameters
from rerec_pipeline.recbench.warmup import WARMUP_KINDS

#: A backbone that was pretrained on our data says here on which splits of it.
MADE_BY = "made_by.json"


def splits_read(name_or_path: str, dataset: str) -> str | None:
    """The splits of a data set that were held out when a backbone of ours was pretrained.

    Args:
        name_or_path: The backbone.
        dataset: Name of the data set.

    Returns:
        Their fingerprint; None for a backbone without a record: it is not ours and reads any.

    Raises:
        BadInputError: If the backbone was pretrained on other data sets only, and reads no other.
    """
    record = Path(name_or_path) / MADE_BY
    if not record.is_file():
        return None
    known: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))["splits"]
    if dataset not in known:
        raise BadInputError(
            record,
            f"this backbone only reads {' and '.join(known)}, not {dataset}",
            field="splits",
            remedy="Choose another one: --params backbone=scratch makes a small one for any data "
            "set; conf/base/parameters/backbones.yml has pretrained ones",
        )
    return known[dataset]


class LoraParameters(Config):
    """PEFT LoRA: what is trained instead of the whole model.

    Attributes:
        r: Rank of the adapter's matrices.
        alpha: Scale of the adapter, as a multiple of 1 / r.
        dropout: Dropout of the adapter's input.
        target_modules: Names of the layers that get one; ``all-linear`` for all.
    """

    r: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    target_modules: str | list[str]


class ScratchStageParameters(StageParameters):
    """One stage of warming up a model made from scratch."""

    kinds = WARMUP_KINDS


class ScratchParameters(PretrainingParameters):
    """A model made from random weights on the training split alone, with its own tokenizer.

    Attributes:
        vocabulary: Entries of its byte-level BPE tokenizer.
        phrases: Titles, with their year and without, then names of the graph, that are one token
            each, at most.
        phrase_std: Standard deviation of their embeddings, which stay as drawn.
        stages: Stages of its pretraining, in order.
    """

    vocabulary: int = Field(ge=300)
    phrases: int = Field(ge=0)
    phrase_std: float = Field(gt=0)
    stages: list[ScratchStageParameters] = Field(min_length=1)


class BackboneParameters(Config):
    """The policy's starting point.

    Attributes:
        name_or_path: A Hugging Face name, a folder, or a GGUF file, which is converted once.
        dtype: Precision of arithmetic and of weights that are not trained. Those that are trained
            are kept in float32 meanwhile, because updates would be lost in 16 bits.
        lora: Adapter to train; null trains all weights.
        scratch: Null for a model that exists; else how it is made, in the folder that
            ``name_or_path`` names.
        template_values: Variables that the chat template reads, fixed to values.
    """

    name_or_path: str = Field(min_length=1)
    dtype: Literal["float32", "bfloat16", "float16"]
    lora: LoraParameters | None
    scratch: ScratchParameters | None
    template_values: dict[str, str | bool | int | float]
