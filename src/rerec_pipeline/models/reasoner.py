"""A policy as an assistant uses it: reasoning in words, then a probability for every candidate."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from rerec_pipeline.models.backbone import Backbone, chat_ids
from rerec_pipeline.models.choosing import BOX, reason, title_scores, until_box
from rerec_pipeline.models.generation import stop_ids
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.recbench.task import Messages


class PolicyReasoner:
    """Reasons with a causal language model.

    Args:
        backbone: The policy.
        name: What it is called in answers.
        max_new_tokens: Most tokens of a reasoning.
    """

    def __init__(self, backbone: Backbone, name: str, max_new_tokens: int):
        self.backbone = backbone
        self.name = name
        self.max_new_tokens = max_new_tokens
        self._table = TokenBytes(backbone.tokenizer)
        self._stops = set(stop_ids(backbone))

    def reason(
        self,
        messages: Messages,
        titles: Sequence[str],
        on_text: Callable[[str], None] | None = None,
    ) -> tuple[str, NDArray[np.float64]]:
        """Reasons about a list of candidates.

        Args:
            messages: The prompt.
            titles: C titles to choose from, as the prompt writes them.
            on_text: Called with each piece of the reasoning as it is written.

        Returns:
            The reasoning without its box, and the probability of each title among the C,
            float64 (C,).
        """
        (prompt,) = chat_ids(self.backbone.tokenizer, [messages], True)
        streamer = None if on_text is None else _Streamer(self._table, on_text)
        completion = reason(
            self.backbone, prompt, self._table, self.max_new_tokens, streamer=streamer
        )
        head, _ = until_box(completion, self._table)
        head = [token for token in head if token not in self._stops]
        scores = title_scores(self.backbone, [*prompt, *head], titles)
        return self._table.read(head).text.strip(), softmax(scores)


class _Streamer:
    """Passes on whole characters of the reasoning, and nothing of the box."""

    def __init__(self, table: TokenBytes, on_text: Callable[[str], None]):
        self._table = table
        self._on_text = on_text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._begun = False

    def put(self, value: torch.Tensor) -> None:
        """Takes the prompt first, then one token at a time."""
        if self._begun:
            self._held += self._decoder.decode(self._table.read(value.flatten().tolist()).data)
            # What may be the opening of the box waits until it is clear that it is not.
            at = self._held.rfind("\\")
            opening = at >= 0 and (BOX.startswith(self._held[at:]) or BOX in self._held)
            ready = self._held.find(BOX) if BOX in self._held else at if opening else None
            if said := self._held[:ready]:
                self._on_text(said)
            self._held = "" if ready is None else self._held[ready:]
        self._begun = True

    def end(self) -> None:
        """Passes on what turned out not to be a box."""
        self._held += self._decoder.decode(b"", final=True)
        if self._held and not self._held.startswith(BOX):
            self._on_text(self._held)
