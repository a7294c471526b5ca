"""More than one turn: what was wished for before still counts, what was shown is not shown again.

The client keeps the conversation and sends all of it; the server keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerec_pipeline.assistant.assistant import Assistant


@dataclass(frozen=True)
class Turn:
    """One message: ``role`` is system, developer, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Wish:
    """What a conversation comes to.

    Attributes:
        request: All that the user has said, in order.
        shown: Indices of items that the assistant has recommended before.
    """

    request: str
    shown: tuple[int, ...]


def read_conversation(turns: Sequence[Turn], assistant: Assistant) -> Wish:
    """Adds up what a user has said, and finds what was shown.

    Args:
        turns: The messages, oldest first.
        assistant: Knows titles. An earlier answer names its recommendation in its last paragraph.
    """
    said = [turn.content.strip() for turn in turns if turn.role == "user"]
    shown: dict[int, None] = {}
    for turn in turns:
        if turn.role == "assistant" and turn.content.strip():
            last = turn.content.strip().splitlines()[-1]
            shown |= dict.fromkeys(assistant.retriever.linker.link(last).items)
    return Wish("\n".join(filter(None, said)), tuple(shown))
