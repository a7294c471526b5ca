"""Diagnostics of one generation that TRL does not log: why a run learns or does not.

Everything is counted over whole arrays, once a generation. A share of nothing is left out, not 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rerec_pipeline.training.rollouts import ScoredRollouts

#: Rewards of a group that differ by less are the same: what is left is rounding.
_SAME = 1e-6


def outcomes(scored: ScoredRollouts, advantages: Tensor) -> Tensor:
    """What is to be known of each rollout, as numbers that processes can exchange.

    Args:
        scored: N scored rollouts.
        advantages: Of their tokens (N, T); what is beyond a completion's end is not looked at.

    Returns:
        float32 (N, 6), on the device of ``advantages``: whether the answer is right; whether one
        is boxed; whether the first boxed one is among the candidates; the sum of the advantages'
        absolute values over all tokens, and over penalised ones; the largest of them.
    """
    width = advantages.shape[1]
    n_tokens = torch.from_numpy(scored.completions.n_tokens).to(advantages.device)
    within = torch.arange(width, device=advantages.device) < n_tokens[:, None]
    penalised = torch.from_numpy(scored.penalised_tokens(width)).to(advantages.device)
    absolute = advantages.abs().float() * within
    graded = scored.graded
    answered = np.stack([graded.correct, graded.boxed, graded.ranked[:, 0] >= 0], axis=1)
    flags = torch.from_numpy(answered).to(absolute)
    sums = [absolute.sum(1, True), (absolute * penalised).sum(1, True)]
    return torch.cat([flags, *sums, absolute.amax(1, True)], dim=1)


def diagnose_rollouts(
    rewards: Tensor, weighted: Tensor, per_rollout: Tensor, terms: Sequence[str], group_size: int
) -> dict[str, float]:
    r"""Diagnosis of a generation of N rollouts, the G of a group adjacent.

    Only differences within a group teach. Their variance is the sum of what the terms
    contribute, so that a term's share of it is

    .. math:: \frac{\mathrm{cov}(r_t, r)}{\mathrm{var}(r)}

    pooled over the groups; the shares sum to 1, and one below 0 works against the others.

    Args:
        rewards: Total rewards, float (N,).
        weighted: Weighted terms that sum to them, float (N, K).
        per_rollout: See ``outcomes``, float (N, 6).
        terms: Names of the K terms.
        group_size: G.

    Returns:
        Shares of groups ``no_spread``, ``all_right``, ``none_right``; of groups with right and
        wrong answers, ``wrong_above_right``, where a wrong one gets no less than a right one;
        mean ``weighted_term/<term>`` and its ``variance_share/<term>``; shares of rollouts
        ``not_boxed`` and, boxed but no candidate, ``not_listed``; ``reward_of_right``,
        ``reward_of_wrong``;
        ``penalised_advantage_share``, the share of all advantages (absolute) on penalised tokens;
        ``largest_advantage``, in absolute value.
    """
    groups = rewards.double().view(-1, group_size)
    right, boxed, listed, absolute, penalised, largest = per_rollout.double().unbind(dim=1)
    found = {
        "no_spread": _mean(groups.amax(1) - groups.amin(1) < _SAME),
        **_by_group(groups, right.view(-1, group_size) > 0),
        "not_boxed": _mean(boxed == 0),
        "not_listed": _mean((boxed > 0) & (listed == 0)),
        "reward_of_right": _mean(rewards[right > 0]),
        "reward_of_wrong": _mean(rewards[right == 0]),
        "penalised_advantage_share": _share(penalised.sum(), absolute.sum()),
        "largest_advantage": float(largest.max()),
    }
    shares = _variance_shares(groups, weighted.double().view(-1, group_size, len(terms)))
    for number, term in enumerate(terms):
        found[f"weighted_term/{term}"] = _mean(weighted[:, number])
        found[f"variance_share/{term}"] = shares[number]
    return {name: value for name, value in found.items() if value is not None}


def diagnose_curriculum(
    expected: NDArray[np.float64], found: NDArray[np.float64], tau: float
) -> dict[str, float]:
    """Diagnosis of what the curriculum served in one batch of queries.

    Args:
        expected: Difficulty of each at its last visit, (Q,); NaN where there was none.
        found: Difficulty now, (Q,).
        tau: A query easier than this is mastered.

    Returns:
        ``returned``, the share of mastered queries, looked at again; of these ``forgotten``, the
        share that is not mastered any more; of all others ``newly_mastered``; and the mean
        difficulty now of both, ``returned_difficulty`` and ``kept_difficulty``.
    """
    again = expected < tau  # False where it is NaN
    results = {
        "returned": again,
        "forgotten": found[again] >= tau,
        "newly_mastered": found[~again] < tau,
        "returned_difficulty": found[again],
        "kept_difficulty": found[~again],
    }
    return {name: float(values.mean()) for name, values in results.items() if len(values)}


def _by_group(groups: Tensor, right: Tensor) -> dict[str, float | None]:
    """Groups by what is right in them, and whether their rewards agree with that."""
    mixed = right.any(1) & ~right.all(1)
    worst_right = groups.masked_fill(~right, torch.inf).amin(1)
    best_wrong = groups.masked_fill(right, -torch.inf).amax(1)
    return {
        "all_right": _mean(right.all(1)),
        "none_right": _mean(~right.any(1)),
        "wrong_above_right": _mean((best_wrong >= worst_right)[mixed]),
    }


def _variance_shares(groups: Tensor, weighted: Tensor) -> list[float | None]:
    """Share of the variance within groups (Q, G) that each term of (Q, G, K) contributes."""
    total = groups - groups.mean(1, keepdim=True)
    terms = weighted - weighted.mean(1, keepdim=True)
    variance = (total**2).sum()
    if variance < _SAME**2 * groups.numel():
        return [None] * weighted.shape[2]
    return [float(v) for v in torch.einsum("qg,qgk->k", total, terms) / variance]


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None


def _share(part: Tensor, whole: Tensor) -> float | None:
    return float(part / whole) if whole > 0 else None
