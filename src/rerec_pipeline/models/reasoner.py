"""A policy as an assistant uses it: reasoning in words, then a probability for every candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from rerec_pipeline.models.backbone import Backbone, chat_ids
from rerec_pipeline.models.choosing import BOX, ReasoningCriteria, reason, title_scores, until_box
from rerec_pipeline.models.forms import Forms
from rerec_pipeline.models.generation import stop_ids
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.recbench.task import Prompt

#: How much less the log-probability of a title is than that of the one which a form allows.
_RULED_OUT = 40.0


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
        self._forms = Forms(backbone.tokenizer, stop_ids(backbone))

    def reason(self, prompts: Sequence[Prompt]) -> list[tuple[str, NDArray[np.float64]]]:
        """Reasons about several lists of candidates at once.

        Args:
            prompts: What is asked, and the C titles that each has to choose from.

        Returns:
            Of each prompt the reasoning without its box, and the probability of each of its titles
            among the C, float64 (C,); even where nobody waits for the answer any more.
        """
        if not prompts:
            return []
        ids = chat_ids(self.backbone.tokenizer, [prompt.messages for prompt in prompts], True)
        watch = ReasoningCriteria(self._table, prompts)
        constraint = self._forms.constraint([prompt.form for prompt in prompts])
        completions = reason(self.backbone, ids, watch, self.max_new_tokens, constraint)
        return [self._chosen(*row) for row in zip(prompts, ids, completions, strict=True)]

    def _chosen(
        self, prompt: Prompt, ids: Sequence[int], completion: Sequence[int]
    ) -> tuple[str, NDArray[np.float64]]:
        end = next((n for n, token in enumerate(completion) if token in self._stops), None)
        head, _ = until_box(completion[:end], self._table)
        text = self._table.read(head).text.strip()
        if prompt.gone():
            return text, np.full(len(prompt.titles), 1 / len(prompt.titles))
        scores = title_scores(self.backbone, [*ids, *head], prompt.titles)
        return text, softmax(scores if prompt.form is None else self._kept(prompt, head, scores))

    def _kept(
        self, prompt: Prompt, head: Sequence[int], scores: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores (C,) with the title that the form allows first; the others keep their order.

        A reasoning that was cut off allows none yet, and rules none out.
        """
        assert prompt.form is not None
        boxes = [f"{BOX}{title}}}" for title in prompt.titles]
        allowed = self._forms.allows(prompt.form, head, boxes)
        if not allowed.any():
            return scores
        behind = scores.max() - scores[allowed].max() + _RULED_OUT
        return np.where(allowed, scores, scores - behind)
