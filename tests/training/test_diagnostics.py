"""Numbers that tell why a run learns or does not, worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerec_pipeline.models.token_bytes import CompletionBytes
from rerec_pipeline.recbench.task import Graded
from rerec_pipeline.rerec.reward import ScoredBatch
from rerec_pipeline.rerec.segments import Paragraphs
from rerec_pipeline.training.diagnostics import diagnose_curriculum, diagnose_rollouts, outcomes
from rerec_pipeline.training.rollouts import ScoredRollouts


def each(right, boxed=None, listed=None, size=None, penalised=None, largest=None):
    n = len(right)
    rows = [right, boxed or [1] * n, listed or [1] * n, size or [1] * n, penalised or [0] * n]
    rows.append(largest or [1] * n)
    return torch.tensor(rows, dtype=torch.float32).T


class TestOutcomes:
    def test_advantages_are_summed_up_to_each_completions_end(self):
        """Two rollouts of 3 and 2 tokens; the second paragraph of the first is penalised."""
        scored = ScoredRollouts(
            CompletionBytes(
                b"a\nbcd",
                np.array([2, 1, 0, 1, 1]), np.zeros(5, int), np.array([3, 2]), np.array([3, 2]),
            ),
            Graded(
                [], np.array([[4, 1], [-1, 1]]), np.array([[4], [1]]), np.array([[4, 1], [4, 1]]),
                np.array([True, True]), np.array([True, False]),
            ),
            ScoredBatch({}, {}),
            Paragraphs(np.array([0, 2, 3]), np.array([2, 1]), [("a", "b"), ("cd",)]),
            [[1], []],
        )  # fmt: skip
        advantages = torch.tensor([[0.5, -2.0, 0.5], [-1.0, -1.0, 99.0]])
        assert outcomes(scored, advantages).tolist() == [
            [1.0, 1.0, 1.0, 3.0, 2.0, 2.0],
            [0.0, 1.0, 0.0, 2.0, 0.0, 1.0],
        ]


class TestRollouts:
    def test_a_generation_by_hand(self):
        """Three groups of two: right and wrong, both wrong and alike, both right and alike."""
        weighted = torch.tensor(
            [[1.0, 0.5], [0.0, -0.5], [0.0, 0.5], [0.0, 0.5], [1.0, 0.5], [1.0, 0.5]]
        )
        found = diagnose_rollouts(
            weighted.sum(1),
            weighted,
            each(
                [1, 0, 0, 0, 1, 1], boxed=[1, 0, 1, 1, 1, 1], listed=[1, 0, 1, 0, 1, 1],
                size=[2, 2, 1, 1, 1, 1], penalised=[0, 0, 1, 1, 0, 0],
                largest=[1, 7, 0, 0, 0, 0],
            ),
            ["ndcg", "format"],
            2,
        )  # fmt: skip
        assert found == pytest.approx(
            {
                "no_spread": 2 / 3, "all_right": 1 / 3, "none_right": 1 / 3,
                "wrong_above_right": 0.0, "not_boxed": 1 / 6, "not_listed": 1 / 6,
                "reward_of_right": 1.5, "reward_of_wrong": (-0.5 + 0.5 + 0.5) / 3,
                "penalised_advantage_share": 2 / 8, "largest_advantage": 7.0,
                "weighted_term/ndcg": 0.5, "weighted_term/format": (5 * 0.5 - 0.5) / 6,
                # the one group with a spread: 1.5 and -0.5, of which ndcg and format half each
                "variance_share/ndcg": 0.5, "variance_share/format": 0.5,
            }
        )  # fmt: skip

    def test_a_wrong_answer_that_is_paid_more(self):
        weighted = torch.tensor([[1.0, 0.0], [0.0, 1.2], [1.0, 0.0], [0.0, 0.2]])
        found = diagnose_rollouts(weighted.sum(1), weighted, each([1, 0, 1, 0]), ["ndcg", "qas"], 2)
        assert found["wrong_above_right"] == 0.5

    def test_shares_of_nothing_are_left_out(self):
        weighted = torch.full((4, 1), 0.3)
        found = diagnose_rollouts(
            weighted.sum(1), weighted, each([0] * 4, size=[0] * 4), ["qas"], 2
        )
        assert found["no_spread"] == 1
        for name in ("wrong_above_right", "reward_of_right", "variance_share/qas"):
            assert name not in found
        assert "penalised_advantage_share" not in found

    @given(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 4))
    def test_shares_of_variance_sum_to_one(self, seed, groups, terms):
        weighted = torch.from_numpy(np.random.default_rng(seed).normal(size=(groups * 3, terms)))
        names = [str(n) for n in range(terms)]
        found = diagnose_rollouts(weighted.sum(1), weighted, each([0] * len(weighted)), names, 3)
        assert sum(found[f"variance_share/{n}"] for n in names) == pytest.approx(1)


class TestCurriculum:
    def test_kept_returned_and_forgotten(self):
        expected = np.array([np.nan, 0.5, 0.05, 0.0, 0.9])
        found = diagnose_curriculum(expected, np.array([0.9, 0.0, 0.3, 0.0, 0.6]), tau=0.1)
        assert found == pytest.approx(
            {
                "returned": 2 / 5, "forgotten": 1 / 2, "newly_mastered": 1 / 3,
                "returned_difficulty": 0.15, "kept_difficulty": 0.5,
            }
        )  # fmt: skip

    def test_nothing_returned(self):
        found = diagnose_curriculum(np.array([np.nan]), np.array([0.5]), tau=0.1)
        assert found == {"returned": 0.0, "newly_mastered": 0.0, "kept_difficulty": 0.5}
