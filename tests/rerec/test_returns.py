"""REINFORCE++ against values worked out by hand, and what its normalisation promises."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rerec_pipeline.rerec.returns import moments, penalised_returns, standardise, token_kl


class TestKL:
    def test_by_hand(self):
        """Probabilities .5 and .25: the log-ratio is log 2, its negative's exponential .5."""
        policy, reference = torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log()
        two = math.log(2)
        for estimator, expected in (("k1", two), ("k2", two**2 / 2), ("k3", 0.5 - 1 + two)):
            assert token_kl(policy, reference, estimator).item() == pytest.approx(expected)

    def test_the_estimates_mean_the_divergence(self):
        """Over all outcomes k1 and k3 are unbiased: sum of p log(p / q) exactly."""
        p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
        exact = (p * (p / q).log()).sum().item()
        for estimator in ("k1", "k3"):
            mean = (p * token_kl(p.log(), q.log(), estimator)).sum().item()
            assert mean == pytest.approx(exact, rel=1e-5)

    def test_an_unknown_one_is_refused(self):
        with pytest.raises(ValueError, match="use k1, k2 or k3"):
            token_kl(torch.zeros(1, 1), torch.zeros(1, 1), "k4")


def test_a_batch_by_hand():
    """Rewards 1 and 0, beta .1, three tokens and one; the mean of the four returns is .5.

    Returns 1 - .1 (1 + 2 - 1) = .8, 1 - .1 (2 - 1) = .9, 1 + .1 = 1.1, and 0 - .1 * 8 = -.8.
    Squared deviations .09, .16, .36, 1.69 add up to 2.3: the variance is .575.
    """
    mask = torch.tensor([[True, True, True], [True, False, False]])
    kl = torch.tensor([[1.0, 2.0, -1.0], [8.0, 99.0, torch.inf]])
    returns = penalised_returns(torch.tensor([1.0, 0.0]), kl, mask, 0.1)
    assert torch.allclose(returns, torch.tensor([[0.8, 0.9, 1.1], [-0.8, 0.0, 0.0]]))
    advantages = standardise(returns, mask, moments(returns, mask))
    expected = torch.tensor([[0.3, 0.4, 0.6], [-1.3, 0.0, 0.0]]) / math.sqrt(0.575)
    assert torch.allclose(advantages, expected, atol=1e-6)


def test_without_kl_every_token_has_its_completions_reward():
    """A long completion counts for more in the mean, for it is over tokens: (3 * 1 + 0) / 4."""
    mask = torch.tensor([[True, True, True], [True, False, False]])
    returns = penalised_returns(torch.tensor([1.0, 0.0]), torch.zeros(2, 3), mask, 0.0)
    advantages = standardise(returns, mask, moments(returns, mask))
    deviation = math.sqrt(0.75 * 0.25)
    assert advantages[0].tolist() == pytest.approx([0.25 / deviation] * 3)
    assert advantages[1, 0].item() == pytest.approx(-0.75 / deviation)


def test_a_batch_of_equal_returns_teaches_nothing():
    mask = torch.ones((4, 3), dtype=torch.bool)
    returns = torch.full((4, 3), 0.55)
    assert standardise(returns, mask, moments(returns, mask)).abs().max() < 1e-3
    nothing = torch.zeros((4, 3), dtype=torch.bool)
    assert standardise(returns, nothing, moments(returns, nothing)).abs().max() == 0


@st.composite
def batches(draw):
    """(rewards, kl, mask) of 2 to 6 completions of 1 to 5 tokens."""
    count, width = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    value = st.floats(-3, 3, width=32)
    lengths = draw(st.lists(st.integers(1, width), min_size=count, max_size=count))
    rewards = draw(st.lists(value, min_size=count, max_size=count))
    kl = draw(
        st.lists(st.lists(value, min_size=width, max_size=width), min_size=count, max_size=count)
    )
    mask = torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]
    return torch.tensor(rewards), torch.tensor(kl), mask


@settings(max_examples=60, deadline=None)
@given(batches(), st.sampled_from([0.0, 0.01, 0.5]))
def test_over_all_tokens_the_mean_is_0_and_the_deviation_1(batch, beta):
    rewards, kl, mask = batch
    returns = penalised_returns(rewards, kl, mask, beta)
    assume(returns[mask].double().std(unbiased=False) > 1e-3)
    advantages = standardise(returns, mask, moments(returns, mask))
    assert advantages[mask].mean().item() == pytest.approx(0, abs=1e-3)
    assert advantages[mask].std(unbiased=False).item() == pytest.approx(1, abs=1e-3)
    assert (advantages[~mask] == 0).all()


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(1, 5))
def test_shares_of_processes_are_parts_of_the_whole(batch, cut):
    """Each process knows its completions, padded to its own width, and the summed moments."""
    rewards, kl, mask = batch
    cut = min(cut, len(rewards) - 1)
    returns = penalised_returns(rewards, kl, mask, 0.1)
    whole = standardise(returns, mask, moments(returns, mask))
    shares = []
    for part in (slice(None, cut), slice(cut, None)):
        width = int(mask[part].sum(1).max())
        own = mask[part, :width]
        shares.append((penalised_returns(rewards[part], kl[part, :width], own, 0.1), own, width))
    total = sum(moments(r, m) for r, m, _ in shares)
    for part, (r, m, width) in zip((slice(None, cut), slice(cut, None)), shares, strict=True):
        assert torch.allclose(standardise(r, m, total), whole[part, :width], atol=1e-4)
