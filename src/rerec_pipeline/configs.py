"""Base class of all configs, and configs that are apart from what they configure.

Other configs live next to their algorithm. Those here are apart from theirs so that a wrong
parameter is reported before torch is imported, and real data are read without the built-in sample.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scale = Literal["group", "batch", "none"]
#: Splits that a policy can be evaluated on. Settings are chosen on validation, never on test.
EvaluatedSplit = Literal["validation", "test"]
KLEstimator = Literal["k1", "k2", "k3"]
#: Kinds of document that the sample's base policy reads.
DocumentKind = Literal["facts", "need", "judge", "among", "recite", "session", "trace"]
DOCUMENT_KINDS: tuple[DocumentKind, ...] = get_args(DocumentKind)


class Config(BaseModel):
    """A validated, immutable block of settings.

    A config has no defaults in code: they are in ``conf/base``, once, with their reasons. An
    unknown key is an error, so a misspelt setting cannot be ignored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


def folder_of_split(split: str) -> str:
    """Folder of results on a split; none for test."""
    return "" if split == "test" else split


def folder_of_data(dataset: str, *labels: str) -> str:
    """Folder of what is made of a data set; with other parameters, of one beside it.

    Without ``=``: engines take a folder ``size=10`` for a column of the tables in it.
    """
    named = "".join(f"+{label.replace('=', '-')}" for label in labels if label)
    return f"{dataset}{named}"


class Bootstrap(NamedTuple):
    """How an interval is found by resampling."""

    samples: int
    confidence: float
    seed: int


class SettingError(ValueError):
    """A setting that is wrong within a block that checks its keys itself.

    Args:
        key: Its name in the block.
        problem: What is wrong, in words that name it.
    """

    def __init__(self, key: str, problem: str):
        self.key = key
        super().__init__(problem)


class LightGCNConfig(Config):
    """Hyper-parameters; the defaults in ``conf`` are those of the LightGCN paper.

    Attributes:
        dim: Size of an embedding.
        layers: Number of propagations.
        lr: Learning rate of Adam.
        l2: Weight of the L2 term, 0.5 * squared norm per occurrence in a batch.
        batch_size: Interactions in a batch.
        epochs: Largest number of epochs.
        evaluate_every: Epochs between two validations.
        patience: Validations without improvement after which training stops.
        k: Length of the ranked list in validation.
        seed: Seed of initialisation, order and negatives.
    """

    dim: int = Field(ge=1)
    layers: int = Field(ge=0)
    lr: float = Field(gt=0)
    l2: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    patience: int = Field(ge=1)
    k: int = Field(ge=1)
    seed: int = Field(ge=0)


class SASRecConfig(Config):
    """Hyper-parameters of SASRec; which are the paper's is said in ``conf``.

    Attributes:
        dim: Size of an embedding.
        blocks: Blocks of self-attention and network.
        heads: Heads of a block.
        length: Number of latest items of a history that the model reads.
        dropout: Dropout of embeddings, attention and network.
        lr: Learning rate of Adam.
        batch_size: Users in a batch.
        epochs: Largest number of epochs.
        evaluate_every: Epochs between two validations.
        patience: Validations without improvement after which training stops.
        seed: Seed of initialisation, order, negatives and dropout.
    """

    dim: int = Field(ge=1)
    blocks: int = Field(ge=0)
    heads: int = Field(ge=1)
    length: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    lr: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    patience: int = Field(ge=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _heads_divide_the_embedding(self) -> SASRecConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} is not a multiple of heads={self.heads}")
        return self


class WorldSize(Config):
    """How large a world is, and the seed that makes it.

    Attributes:
        items: Number of items.
        people: relation -> number of different people in it.
        users: Number of users.
        tastes: Number of latent tastes.
        interactions_per_user: Mean number of items a user has watched or read.
        queries: query type -> number of queries.
        seed: Seed of everything that is random in the world.
    """

    items: int = Field(ge=20)
    people: dict[str, int]
    users: int = Field(ge=1)
    tastes: int = Field(ge=1)
    interactions_per_user: int = Field(ge=5)
    queries: dict[str, int]
    seed: int = Field(ge=0)


class Habits(Config):
    """How well the naive reasoner decides.

    Attributes:
        looks: Mean number of candidates it considers (at least 1, at most 5).
        spots: Chance that a look goes to the right item rather than to a popular one.
        follows: How much popularity attracts the other looks (0: not at all).
        commits: Chance to answer an item it judged to fit; else any it considered.
        true_verdicts: Share of its verdicts that are true.
        misled: Chance to believe the false statement of a misinformed query.
        misreads: Chance to restate another person than an implicit query points at.
    """

    looks: float = Field(ge=1, le=5)
    spots: float = Field(ge=0, le=1)
    follows: float = Field(ge=0)
    commits: float = Field(ge=0, le=1)
    true_verdicts: float = Field(ge=0, le=1)
    misled: float = Field(ge=0, le=1)
    misreads: float = Field(ge=0, le=1)
