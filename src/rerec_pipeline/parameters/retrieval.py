"""Blocks about finding items by the graphs."""

from __future__ import annotations

from pydantic import Field

from rerec_pipeline.configs import Config
from rerec_pipeline.grounding.config import RankerConfig


class RetrievalParameters(Config):
    """How items are found for a request.

    Attributes:
        pool: Items that the first stage keeps for the ranker.
        neighbours: Answered training requests, the most similar ones, that items are taken from.
        ranker: Settings of the ranker's fit.
    """

    pool: int = Field(ge=1)
    neighbours: int = Field(ge=1)
    ranker: RankerConfig
