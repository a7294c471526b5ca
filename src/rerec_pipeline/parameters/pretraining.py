"""Blocks about models that are made here: the base policy of the sample, one from scratch."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from rerec_pipeline.configs import Config


class ArchitectureParameters(Config):
    """Size of a Qwen2 model from scratch.

    Attributes:
        hidden: Size of a hidden state.
        layers: Number of layers.
        heads: Attention heads of a layer.
        mlp: Inner size of a layer's network.
        init_std: Standard deviation of the weights at the beginning.
        rope_theta: Base of the rotary positions.
    """

    hidden: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    mlp: int = Field(ge=8)
    init_std: float = Field(gt=0)
    rope_theta: float = Field(gt=0)


class StageParameters(Config):
    """One stage of pretraining.

    Attributes:
        batches: Number of batches.
        list_sizes: Candidates in a list at the beginning and at the end of the stage.
        verdict_weight: Weight of verdict tokens in the loss; all others weigh 1.
        documents: Kind of document -> share.
    """

    #: Kinds of document that there are.
    kinds: ClassVar[tuple[str, ...]]

    batches: int = Field(ge=1)
    list_sizes: tuple[int, int]
    verdict_weight: float = Field(gt=0)
    documents: dict[str, float]

    @field_validator("documents")
    @classmethod
    def _documents_are_known(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(cls.kinds))
        if unknown or not value:
            raise ValueError(f"unknown kinds {unknown}; there are {list(cls.kinds)}")
        return value


class PretrainingParameters(Config):
    """How a model is made from random weights; subclasses say what it reads.

    Attributes:
        architecture: Size of the model.
        tokens_per_batch: Upper bound, padding included.
        lr: Peak learning rate (cosine, with warm-up).
        warmup_steps: Steps of linear warm-up.
        weight_decay: Weight decay of AdamW.
        checkpoint_every: Steps between checkpoints.
        seed: Seed of documents, initial weights and order.
    """

    architecture: ArchitectureParameters
    tokens_per_batch: int = Field(ge=256)
    lr: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    checkpoint_every: int = Field(ge=1)
    seed: int = Field(ge=0)
