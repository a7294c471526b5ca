"""What a model is pretrained on: conversations, of which the assistant's words are learned."""

from __future__ import annotations

from dataclasses import dataclass

#: Verdicts of a reasoning text on one candidate.
FITS = "Fits."
DOES_NOT_FIT = "Does not fit."


@dataclass(frozen=True)
class Document:
    """A conversation: (what the user says, what the assistant says), one or more times.

    Attributes:
        kind: What it teaches.
        turns: The conversation.
    """

    kind: str
    turns: tuple[tuple[str, str], ...]
