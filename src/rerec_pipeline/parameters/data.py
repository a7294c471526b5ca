"""Blocks about data: where it comes from and how it becomes a task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rerec_pipeline.configs import Config, LightGCNConfig, WorldSize
from rerec_pipeline.recbench.candidates import CandidateConfig
from rerec_pipeline.recbench.relations import spellings
from rerec_pipeline.recbench.task import PromptWording


class SplitConfig(Config):
    """Shares of the queries, and the seed that deals them.

    Attributes:
        train: Share of the queries to learn from.
        validation: Share of the queries to choose settings on.
        test: Share of the queries to report results on.
        seed: Seed of the assignment of queries to splits.
    """

    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> SplitConfig:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test must sum to 1, they sum to {total}")
        return self


class DataParameters(Config):
    """Where the data comes from and how it becomes a task.

    Attributes:
        source: ``fabricated`` writes the built-in sample, ``published`` reads files that exist.
        domain: What the items are, in one word: ``movie``, ``book``, ``boardgame``. Names the
            folder ``dataset/<domain>`` and the file ``<domain>s.dat``.
        world: Size and seed of the fabricated world; null for published data.
        split: Train, validation and test.
        candidates: How the list of candidates is drawn.
        history: Whether the prompt names what the user has seen.
        prompt: The texts around a query.
    """

    source: Literal["fabricated", "published"]
    domain: str = Field(pattern=r"^[\w-]+$")
    world: WorldSize | None
    split: SplitConfig
    candidates: CandidateConfig
    history: bool
    prompt: PromptWording

    @model_validator(mode="after")
    def _a_fabricated_world_has_a_size(self) -> DataParameters:
        if self.source == "fabricated" and self.world is None:
            raise ValueError("world must be given when source is 'fabricated'")
        if self.world is not None:
            # Only where a world is fabricated: real data have nothing to do with the sample.
            from rerec_pipeline.sample.world import check_world

            check_world(self.domain, self.world)
        return self


AttributeSource = Literal["items", "edge_list", "gexf", "training_queries"]


class AttributeParameters(Config):
    """Where the attribute graph gets its facts.

    Attributes:
        sources: ``items`` (kinds in the items file), ``edge_list`` (item_attributes.csv), ``gexf``
            (a graph as the authors release it) and ``training_queries`` (facts they state).
            A file that is not there adds nothing; the report says what each added.
        kinds: Domain -> the relation of the kinds in its items file; ``Genre`` where it is not
            named.
        relations: Relation -> other names for it in files; beside the built-in ones.
    """

    sources: list[AttributeSource] = Field(min_length=1)
    kinds: dict[str, str]
    relations: dict[Annotated[str, Field(pattern=r"^[^\W_][\w -]*$")], list[str]]

    @model_validator(mode="after")
    def _spellings_are_unique_and_kinds_known(self) -> AttributeParameters:
        known = set(spellings(self.relations).values())
        if unknown := sorted(set(self.kinds.values()) - known):
            raise ValueError(f"kinds names relations that there are not: {unknown}; add them")
        return self

    def kind_relation(self, domain: str) -> str:
        """The relation of the kinds in the items file of a domain."""
        return self.kinds.get(domain, "Genre")


class FixedParameters(Config):
    """A user's own split and candidates, used as they are; null lets them be drawn.

    Attributes:
        splits: CSV with query_id and split; queries that it does not name are left out.
        candidates: JSON lines with query_id and candidates (titles or ids, in prompt order).
    """

    splits: str | None
    candidates: str | None


class HistoryParameters(Config):
    """What a prompt tells of the user's past where ``data.history`` is true.

    Attributes:
        length: Number of latest items that a prompt names.
    """

    length: int = Field(ge=1)


class LightGCNParameters(LightGCNConfig):
    """LightGCN, and where checkpoints of an unfinished training are.

    Attributes:
        checkpoint_dir: Folder of the checkpoints of an unfinished training.
    """

    checkpoint_dir: str


class InteractionParameters(Config):
    """What of the interactions LightGCN is validated on.

    Attributes:
        validation_share: Share of each user's interactions that is held out.
        seed: Seed of the choice of held-out interactions.
    """

    validation_share: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
