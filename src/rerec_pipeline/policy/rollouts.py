"""From the tokens of a batch of rollouts to rewards and penalised tokens, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.policy.token_bytes import CompletionBytes, TokenBytes
from rerec_pipeline.recbench.task import Example, Graded, RecTask
from rerec_pipeline.rerec.reward import Reward, RewardBatch, ScoredBatch
from rerec_pipeline.rerec.segments import penalised_tokens, split_paragraphs


@dataclass(frozen=True)
class ScoredRollouts:
    """What a batch of N rollouts is worth, and which paragraphs led astray.

    Attributes:
        completions: The rollouts as bytes.
        graded: What they answer.
        scored: Their rewards by term, unweighted, and in total.
        starts: First byte of each paragraph, per rollout.
        paragraphs: Text of each paragraph, per rollout.
        penalised: Indices of the paragraphs that bring up a wrong recommendation, per rollout.
    """

    completions: list[CompletionBytes]
    graded: Graded
    scored: ScoredBatch
    starts: list[NDArray[np.int64]]
    paragraphs: list[tuple[str, ...]]
    penalised: list[list[int]]

    def penalised_tokens(self, width: int) -> NDArray[np.bool_]:
        """Marks the tokens of penalised paragraphs: bool (N, ``width``)."""
        return penalised_tokens(
            [c.lengths for c in self.completions],
            [c.leading_breaks for c in self.completions],
            self.starts,
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
        completions = [self.token_bytes.read(ids) for ids in token_ids]
        graded = self.task.grade([c.text for c in completions], examples)
        scored = self.reward(RewardBatch(graded.ranked, graded.truths, graded.boxed))
        split = [split_paragraphs(c.data) for c in completions]
        penalised = [
            [] if right else self.task.penalised_paragraphs(part.texts, answer, int(ranked[0]))
            for part, answer, ranked, right in zip(
                split, graded.answers, graded.ranked, graded.correct, strict=True
            )
        ]
        return ScoredRollouts(
            completions,
            graded,
            scored,
            [part.starts for part in split],
            [part.texts for part in split],
            penalised,
        )
