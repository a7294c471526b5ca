"""An assistant over eight films, with a reasoner whose words and beliefs are known."""

from __future__ import annotations

import numpy as np
import pytest

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.recbench.task import PromptWording, RecTask
from tests.grounding.conftest import catalogue, facts, linker, retriever  # noqa: F401

WORDING = PromptWording(
    system="Recommend one.", user="{candidates}\n\n{history}{query}", history="Seen: {titles}. ",
    separator="\n", evidence=0, evidence_words=0, order="drawn", known="{facts}",
)  # fmt: skip


class Scripted:
    """Writes the same reasoning every time and believes in the last candidate."""

    name = "scripted"

    def __init__(
        self, text="Ember (1994): directed by Ana Torv.\nHarbor, The (1990): directed by Otto Beck."
    ):
        self.text = text
        self.asked = []
        self.batches = []

    def reason(self, prompts):
        self.batches.append(len(prompts))
        return [self._one(prompt) for prompt in prompts]

    def _one(self, prompt):
        self.asked.append((prompt.messages, list(prompt.titles)))
        if prompt.on_text is not None:
            for word in self.text.split(" "):
                prompt.on_text(f"{word} ")
        scores = np.arange(1.0, len(prompt.titles) + 1)
        return self.text, scores / scores.sum()


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def assistant(catalogue, retriever, scripted) -> Assistant:  # noqa: F811
    return Assistant(RecTask(catalogue, WORDING), retriever, scripted, list_size=4)
