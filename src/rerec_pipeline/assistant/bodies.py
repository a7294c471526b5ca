"""A request as callers write it, with titles: the body of ``POST /recommend``, a line in bulk."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rerec_pipeline.assistant.assistant import Assistant, Request
from rerec_pipeline.assistant.conversation import LONGEST, Turn, Wish, read_conversation

#: Titles in a list: what a person could have typed.
MOST_TITLES = 200

Title = Annotated[str, Field(min_length=1, max_length=500)]


class Details(BaseModel):
    """What is said of a request beside its text; titles as people write them.

    Attributes:
        history: Titles that the user knows.
        candidates: Titles to choose from; null finds them.
        exclude: Titles that must not be recommended.
        k: How many items to recommend.
    """

    model_config = ConfigDict(extra="forbid")
    history: list[Title] = Field(default=[], max_length=MOST_TITLES)
    candidates: list[Title] | None = Field(default=None, min_length=1, max_length=MOST_TITLES)
    exclude: list[Title] = Field(default=[], max_length=MOST_TITLES)
    k: int = Field(default=5, ge=1, le=100)

    def asked(self, wish: Wish, assistant: Assistant) -> Request:
        """The request for what a conversation comes to, with items in place of titles.

        Raises:
            BadInputError: If a title is no item's, or fits two.
        """
        listed = self.candidates
        return Request(
            wish.request,
            history=assistant.indices(self.history, "history"),
            candidates=None if listed is None else assistant.indices(listed, "candidates"),
            top=self.k,
            exclude=[*assistant.indices(self.exclude, "exclude"), *wish.exclude],
        )


class Body(Details):
    """What is asked.

    Attributes:
        request: What the user says.
    """

    request: str = Field(min_length=1, max_length=LONGEST)

    def read(self, assistant: Assistant) -> Request:
        """The request with items in place of titles.

        Raises:
            BadInputError: If a title is no item's, or fits two.
        """
        return self.asked(read_conversation([Turn("user", self.request)], assistant), assistant)
