"""How the ranker is fitted; apart from it, so that settings are checked without its imports."""

from __future__ import annotations

from pydantic import Field

from rerec_pipeline.configs import Config


class RankerConfig(Config):
    """How the ranker is fitted.

    Attributes:
        queries: Largest number of training queries to learn from, drawn by the seed.
        pool_negatives: Wrong items of a list that is drawn from a query's pool.
        lists: Lists of one right item and random wrong ones, for each query.
        list_size: Length of such a list.
        rounds: Largest number of trees.
        patience: Boosting stops after so many trees without improvement on validation queries,
            where there are any.
        learning_rate: Weight of a tree.
        leaves: Largest number of leaves of a tree.
        min_rows: Fewest items in a leaf.
        seed: Seed of the draws and the trees.
    """

    queries: int = Field(ge=1)
    pool_negatives: int = Field(ge=1)
    lists: int = Field(ge=0)
    list_size: int = Field(ge=2)
    rounds: int = Field(ge=1)
    patience: int = Field(ge=1)
    learning_rate: float = Field(gt=0, le=1)
    leaves: int = Field(ge=2)
    min_rows: int = Field(ge=1)
    seed: int = Field(ge=0)
