"""What the assistant says of an answer."""

from __future__ import annotations

from rerec_pipeline.assistant.assistant import Answer


def recommendation(answer: Answer) -> str:
    """The recommendation as a sentence."""
    if not answer.items:
        return "I found nothing to recommend."
    return f"I recommend {answer.items[0].title}."
