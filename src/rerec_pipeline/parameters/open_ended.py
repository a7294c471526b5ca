"""Blocks about queries that are asked without a list."""

from __future__ import annotations

from pydantic import Field

from rerec_pipeline.configs import Config
from rerec_pipeline.recbench.records import QueryType


class OpenEndedParameters(Config):
    """Answers without a list of candidates.

    Attributes:
        length: Titles in an answer.
        recorded: Folder of recorded answers of other models, JSON lines with id and response, one
            file a model; null without.
        recorded_type: Query type that these answers are to.
    """

    length: int = Field(ge=1)
    recorded: str | None
    recorded_type: QueryType
