"""From the tokens of a batch of rollouts to rewards and penalised tokens, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.models.token_bytes import CompletionBytes, TokenBytes
from rerec_pipeline.recbench.task import Example, Graded, RecTask
from rerec_pipeline.rerec.reward import Reward, RewardBatch, ScoredBatch
from rerec_pipeline.rerec.segments import Paragraphs, penalised_tokens, split_paragraphs


@dataclass(frozen=True)
class ScoredRollouts:
    """What a batch of N rollouts is worth, and which paragraphs led astray.

    Attributes:
        completions: The rollouts as bytes.
        graded: What they answer.
        scored: Their rewards by term, unweighted, and in total.
        split: Their paragraphs.
        penalised: Indices of the paragraphs that bring up a wrong recommendation, per rollout.
    """

    completions: CompletionBytes
    graded: Graded
    scored: ScoredBatch
    split: Paragraphs
    penalised: list[list[int]]

    @property
    def paragraphs(self) -> list[tuple[str, ...]]:
        """Text of each paragraph, per rollout."""
        return self.split.texts

    def penalised_tokens(self, width: int) -> NDArray[np.bool_]:
        """Marks the tokens of penalised paragraphs: bool (N, ``width``)."""
        return penalised_tokens(
            self.completions.lengths,
            self.completions.leading_breaks,
            self.completions.n_tokens,
            self.split,
            self.penalised,
            width,
        )


class RolloutScorer:
    """Scores rollouts for training and evaluation alike.

    Args:
        task: Reads answers and knows titles.
        reward: What an answer is worth.
        token_bytes: The tokenizer's table of bytes.
    """

    def __init__(self, task: RecTask, reward: Reward, token_bytes: TokenBytes):
        self.task = task
        self.reward = reward
        self.token_bytes = token_bytes

    def score(
        self, token_ids: Sequence[Sequence[int]], examples: Sequence[Example]
    ) -> ScoredRollouts:
        """Scores one rollout for each example.

        Args:
            token_ids: Completion tokens of N rollouts.
            examples: What each was asked, N examples.
        """
        completions = self.token_bytes.read_batch(token_ids)
        graded = self.task.grade(completions.texts, examples)
        scored = self.reward(RewardBatch(graded.ranked, graded.truths, graded.boxed, graded.listed))
        split = split_paragraphs(completions.data, completions.n_bytes)
        penalised = [
            [] if right else self.task.penalised_paragraphs(texts, answer, int(ranked[0]))
            for texts, answer, ranked, right in zip(
                split.texts, graded.answers, graded.ranked, graded.correct, strict=True
            )
        ]
        return ScoredRollouts(completions, graded, scored, split, penalised)
