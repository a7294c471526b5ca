"""RAAE against values worked out by hand, and against TRL's own advantages bit for bit."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trl.trainer.utils import nanstd

from rerec_pipeline.rerec.advantage import (
    EPSILON,
    group_statistics,
    reasoning_aware_advantages,
    segment_rewards,
)


def test_group_by_hand():
    # rewards 1, 0, 0, 0: mean .25, sample std .5
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    nothing = torch.zeros((4, 2), dtype=torch.bool)
    advantages = reasoning_aware_advantages(rewards, nothing, 4, 0.3)
    expected = torch.tensor([0.75, -0.25, -0.25, -0.25]) / (0.5 + EPSILON)
    assert torch.allclose(advantages, expected[:, None].expand(4, 2), atol=1e-6)


def test_penalised_tokens_by_hand():
    # r = .4 on a penalised paragraph becomes .7 * .4 = .28
    rewards = torch.tensor([1.0, 0.4])
    penalised = torch.tensor([[False, False, False], [False, True, True]])
    advantages = reasoning_aware_advantages(rewards, penalised, 2, 0.3)
    std = math.sqrt(2 * 0.3**2)
    assert advantages[1].tolist() == pytest.approx(
        [
            (0.4 - 0.7) / (std + EPSILON),
            (0.28 - 0.7) / (std + EPSILON),
            (0.28 - 0.7) / (std + EPSILON),
        ]
    )
    assert advantages[0, 0] == pytest.approx(0.3 / (std + EPSILON))


@pytest.mark.parametrize(
    ("rewards", "kept", "lowered"),
    [
        # Official weights: 0.05 for the form, 0.007 for QAS .5 and PAS .2 of the wrong answer.
        # One right answer in the group: mean .2554, std .45535; .057 becomes .0399.
        ([1.07, 0.057, 0.05, 0.05, 0.05], -0.1984 / 0.45545, -0.2155 / 0.45545),
        # All wrong: mean .0514, std .0031305. What hardly counted now turns the sign.
        ([0.05, 0.057, 0.05, 0.05, 0.05], 0.0056 / 0.0032305, -0.0115 / 0.0032305),
    ],
)
def test_small_weights_are_invisible_in_mixed_groups_and_rule_all_wrong_ones(
    rewards, kept, lowered
):
    penalised = torch.zeros((5, 2), dtype=torch.bool)
    penalised[1, 1] = True
    advantages = reasoning_aware_advantages(torch.tensor(rewards), penalised, 5, 0.3)
    assert advantages[1].tolist() == pytest.approx([kept, lowered], rel=2e-3)


def test_negative_reward_goes_down():
    lowered = segment_rewards(torch.tensor([-0.5, 0.0, 0.5]), 0.3)
    assert lowered.tolist() == pytest.approx([-0.65, 0.0, 0.35])


def test_equal_rewards_give_no_advantage():
    for value in (0.0, 1.0, -0.55):
        rewards = torch.full((8,), value)
        free = torch.zeros((8, 1), dtype=torch.bool)
        assert torch.equal(reasoning_aware_advantages(rewards, free, 4, 0.3), torch.zeros(8, 1))


def test_all_wrong_group_lets_the_penalty_speak():
    rewards = torch.tensor([0.05, 0.05, 0.05, 0.05])
    penalised = torch.tensor([[True, False]] + [[False, False]] * 3)
    advantages = reasoning_aware_advantages(rewards, penalised, 4, 0.3)
    # mean .05, std 0: -.3 * .05 / epsilon
    assert advantages[0, 0] == pytest.approx(-0.015 / EPSILON, rel=1e-3)
    assert advantages[0, 1] == 0


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_scales(scale):
    rewards = torch.tensor([1.0, 0.0, 3.0, 1.0])
    _, divisor = group_statistics(rewards, 2, scale)
    expected = {
        "group": [math.sqrt(0.5), math.sqrt(0.5), math.sqrt(2), math.sqrt(2)],
        "batch": [float(rewards.std())] * 4,
        "none": [1 - EPSILON] * 4,
    }[scale]
    assert divisor.tolist() == pytest.approx([e + EPSILON for e in expected])


def test_bad_arguments():
    with pytest.raises(ValueError, match="groups of 3"):
        group_statistics(torch.zeros(4), 3, "group")
    with pytest.raises(ValueError, match="unknown scale"):
        group_statistics(torch.zeros(4), 2, "median")


def test_a_floor_for_the_divisor_by_hand():
    """Rewards .30 and .30 + 2e-4: sample std 1.4e-4, with EPSILON the divisor is 2.4e-4."""
    rewards = torch.tensor([0.3, 0.3002, 1.0, 0.0], dtype=torch.float64)
    nothing = torch.zeros((4, 1), dtype=torch.bool)
    plain = reasoning_aware_advantages(rewards, nothing, 2, 0.3)
    assert plain[:, 0].tolist() == pytest.approx([-0.4142, 0.4142, 0.7070, -0.7070], abs=1e-3)
    everything = ~nothing  # the penalty of .09, divided by 2.4e-4
    unbounded = reasoning_aware_advantages(rewards, everything, 2, 0.3)
    assert unbounded[0, 0] == pytest.approx(-0.0901 / 2.414e-4, rel=1e-3)
    floored = reasoning_aware_advantages(rewards, everything, 2, 0.3, min_std=0.1)
    assert floored[0, 0] == pytest.approx(-0.0901 / 0.1001, rel=1e-3)
    # a group whose rewards differ by more is as before
    assert torch.equal(floored[2:], unbounded[2:])
    _, divisor = group_statistics(rewards, 2, "batch", min_std=2.0)
    assert divisor.tolist() == pytest.approx([2.0 + EPSILON] * 4)


def trl_advantages(rewards: torch.Tensor, group: int, scale: str) -> torch.Tensor:
    """TRL 1.16's own lines for one reward function (sum_then_normalize)."""
    mean = torch.nanmean(rewards.view(-1, group), dim=1).repeat_interleave(group, dim=0)
    if scale == "batch":
        std = nanstd(rewards).expand_as(rewards)
    else:
        std = nanstd(rewards.view(-1, group), dim=1).repeat_interleave(group, dim=0)
    advantages = rewards - mean
    return advantages if scale == "none" else advantages / (std + 1e-4)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 8).flatmap(
        lambda g: st.tuples(
            st.just(g),
            st.lists(st.floats(-2, 2, width=32), min_size=g, max_size=6 * g).map(
                lambda v: v[: len(v) // g * g]
            ),
        )
    ),
    st.sampled_from(["group", "batch", "none"]),
)
def test_without_penalty_it_is_trl_bit_for_bit(case, scale):
    group, values = case
    rewards = torch.tensor(values, dtype=torch.float32)
    penalised = torch.rand((len(values), 3)) < 0.5
    ours = reasoning_aware_advantages(rewards, penalised, group, 0.0, scale)
    theirs = trl_advantages(rewards, group, scale)
    assert torch.equal(ours, theirs[:, None].expand_as(ours))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 2, width=32), min_size=4, max_size=4), st.permutations(range(4)))
def test_permuting_a_group_permutes_its_advantages(values, order):
    rewards = torch.tensor(values, dtype=torch.float32)
    penalised = torch.tensor([[True, False], [False, False], [False, True], [True, True]])
    straight = reasoning_aware_advantages(rewards, penalised, 4, 0.3)
    order = list(order)
    permuted = reasoning_aware_advantages(rewards[order], penalised[order], 4, 0.3)
    assert torch.allclose(permuted, straight[order], rtol=1e-3, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 2, width=32), min_size=4, max_size=4), st.floats(0, 1))
def test_a_penalty_never_helps(values, w_penalty):
    rewards = torch.tensor(values, dtype=torch.float32)
    everything = torch.ones((4, 1), dtype=torch.bool)
    free = reasoning_aware_advantages(rewards, ~everything, 4, w_penalty)
    assert (reasoning_aware_advantages(rewards, everything, 4, w_penalty) <= free).all()
