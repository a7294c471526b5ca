"""A request as callers write it, with titles: the body of ``POST /recommend``, a line in bulk."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rerec_pipeline.assistant.assistant import Assistant, Request
from rerec_pipeline.assistant.conversation import Turn, read_conversation

#: Longest request in characters, and most titles in a list: what a person could have typed.
LONGEST = 4_000
MOST_TITLES = 200

Title = Annotated[str, Field(min_length=1, max_length=500)]


class Body(BaseModel):
    """What is asked; titles as people write them.

    Attributes:
        request: What the user says.
        history: Titles that the user knows.
        candidates: Titles to choose from; null finds them.
        exclude: Titles that must not be recommended.
        k: How many items to recommend.
    """

    model_config = ConfigDict(extra="forbid")
    request: str = Field(min_length=1, max_length=LONGEST)
    history: list[Title] = Field(default=[], max_length=MOST_TITLES)
    candidates: list[Title] | None = Field(default=None, min_length=1, max_length=MOST_TITLES)
    exclude: list[Title] = Field(default=[], max_length=MOST_TITLES)
    k: int = Field(default=5, ge=1, le=100)

    def read(self, assistant: Assistant) -> Request:
        """The request with items in place of titles.

        Raises:
            BadInputError: If a title is no item's, or fits two.
        """
        listed = self.candidates
        wish = read_conversation([Turn("user", self.request)], assistant)
        return Request(
            wish.request,
            history=assistant.indices(self.history, "history"),
            candidates=None if listed is None else assistant.indices(listed, "candidates"),
            top=self.k,
            exclude=[*assistant.indices(self.exclude, "exclude"), *wish.refused],
        )
