"""Blocks about data: where it comes from and how it becomes a task."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rerec_pipeline.recbench.candidates import CandidateRule
from rerec_pipeline.recbench.task import PromptWording
from rerec_pipeline.rules import LightGCNRule, Rule
from rerec_pipeline.sample.world import DOMAINS, WorldSize


class SplitRule(Rule):
    """Shares of the queries, and the seed that deals them."""

    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> SplitRule:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test must sum to 1, they sum to {total}")
        return self


class DataParameters(Rule):
    """Where the data comes from and how it becomes a task.

    Attributes:
        source: ``fabricated`` writes the built-in sample, ``published`` reads files that exist.
        domain: ``movie`` or ``book``.
        world: Size and seed of the fabricated world; null for published data.
        split: Train, validation and test.
        candidates: How the list of candidates is drawn.
        history: Whether the prompt names what the user has seen.
        prompt: The texts around a query.
    """

    source: Literal["fabricated", "published"]
    domain: Literal["movie", "book"]
    world: WorldSize | None
    split: SplitRule
    candidates: CandidateRule
    history: bool
    prompt: PromptWording

    @model_validator(mode="after")
    def _a_fabricated_world_has_a_size(self) -> DataParameters:
        if self.source == "fabricated" and self.world is None:
            raise ValueError("world must be given when source is 'fabricated'")
        if self.world is not None:
            wanted = set(DOMAINS[self.domain].people)
            if set(self.world.people) != wanted:
                raise ValueError(f"world.people must give a number for each of {sorted(wanted)}")
        return self


AttributeSource = Literal["items", "edge_list", "gexf", "training_queries"]


class AttributeParameters(Rule):
    """Where the attribute graph gets its facts.

    Attributes:
        sources: ``items`` (kinds in the items file), ``edge_list`` (item_attributes.csv), ``gexf``
            (a graph as the authors release it) and ``training_queries`` (facts they state).
            A file that is not there adds nothing; the report says what each added.
    """

    sources: list[AttributeSource] = Field(min_length=1)


class FixedParameters(Rule):
    """A user's own split and candidates, used as they are; null lets them be drawn.

    Attributes:
        splits: CSV with query_id and split; queries that it does not name are left out.
        candidates: JSON lines with query_id and candidates (titles or ids, in prompt order).
    """

    splits: str | None
    candidates: str | None


class HistoryParameters(Rule):
    """What a prompt tells of the user's past where ``data.history`` is true.

    Attributes:
        length: Most items; the latest ones.
    """

    length: int = Field(ge=1)


class LightGCNParameters(LightGCNRule):
    """LightGCN, and where checkpoints of an unfinished training are."""

    checkpoint_dir: str


class InteractionParameters(Rule):
    """What of the interactions LightGCN is validated on.

    Attributes:
        validation_share: Share of each user's interactions that is held out.
        seed: Which ones.
    """

    validation_share: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
