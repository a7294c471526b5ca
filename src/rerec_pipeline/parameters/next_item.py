"""Blocks about the next item of a history."""

from __future__ import annotations

from pydantic import Field, model_validator

from rerec_pipeline.configs import Config, SASRecConfig


class NextItemParameters(Config):
    """The choice of the item that comes next in a user's history.

    Attributes:
        core: Interactions that a user and an item must have; a history needs an item to learn
            from, one to validate on and one to test on.
        users: Largest number of users to ask for.
        negatives: Candidates beside the right one.
        history: Number of latest titles that a prompt names; 0 leaves the sentence out.
        request: What the policy is asked; ``{last}`` becomes the title of the latest item.
        seed: Seed of the choice of users and negatives.
    """

    core: int = Field(ge=3)
    users: int = Field(ge=1)
    negatives: int = Field(ge=1)
    history: int = Field(ge=0)
    request: str = Field(min_length=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _the_prompt_tells_something(self) -> NextItemParameters:
        if self.history == 0 and "{last}" not in self.request:
            raise ValueError("history=0 tells nothing of the user unless request has {last}")
        return self


class SASRecParameters(SASRecConfig):
    """SASRec, and where checkpoints of an unfinished training are.

    Attributes:
        checkpoint_dir: Folder of the checkpoints of an unfinished training.
    """

    checkpoint_dir: str
