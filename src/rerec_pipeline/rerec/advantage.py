r"""Reasoning-aware advantage estimation, RAAE (ReRec, section on advantage estimation).

Where the recommended item is wrong, the paragraphs that brought it up are paid less than the
rest of the completion:

.. math:: A_{i,t} = \frac{r_{i,t} - \mathrm{mean}(r)}{\mathrm{std}(r) + \epsilon},
          \qquad r_{i,t} = (1 - w_{pen}) \, r_i \text{ on penalised tokens, else } r_i

with mean and std over the G rewards of the group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rerec_pipeline.rules import AdvantageRule, Scale

EPSILON = 1e-4


def segment_rewards(rewards: Tensor, w_penalty: float) -> Tensor:
    r"""Reward of a penalised segment.

    The paper's :math:`(1 - w_{pen}) r` raises a negative reward; here
    :math:`r - w_{pen} |r|`, which equals it wherever :math:`r \ge 0` and lowers r below 0.

    Args:
        rewards: Any shape, float.
        w_penalty: Share of the reward taken away, in [0, 1].

    Returns:
        Same shape and dtype.
    """
    return rewards - w_penalty * rewards.abs()


def group_statistics(rewards: Tensor, group_size: int, scale: Scale) -> tuple[Tensor, Tensor]:
    """Baseline and divisor of every completion's advantage.

    Args:
        rewards: float (N,), the G completions of a group adjacent.
        group_size: G.
        scale: Divide by the std of the group (paper), of the batch, or not at all.

    Returns:
        mean (N,) and divisor (N,).

    Raises:
        ValueError: If N is not a multiple of G, or the scale is unknown.
    """
    if len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rewards do not make groups of {group_size}")
    grouped = rewards.view(-1, group_size)
    mean = torch.nanmean(grouped, dim=1).repeat_interleave(group_size)
    if scale == "group":
        divisor = _std(grouped, dim=1).repeat_interleave(group_size) + EPSILON
    elif scale == "batch":
        divisor = _std(rewards, dim=None).expand_as(rewards) + EPSILON
    elif scale == "none":
        divisor = torch.ones_like(rewards)
    else:
        raise ValueError(f"unknown scale '{scale}': use group, batch or none")
    return mean, divisor


def _std(values: Tensor, dim: int | None) -> Tensor:
    """Sample standard deviation over ``dim`` (None: over everything).

    Formulas that are equal on paper round differently. This order of operations, with the
    NaN-aware mean, is TRL's, so that the advantage without a penalty is TRL's bit for bit.
    """
    mean = torch.nanmean(values, dim=dim, keepdim=True)
    variance = torch.nanmean((values - mean) ** 2, dim=dim, keepdim=True)
    count = torch.sum(~torch.isnan(values), dim=dim, keepdim=True)
    std = torch.sqrt(variance * (count / (count - 1)))
    return std.squeeze() if dim is None else std.squeeze(dim)


def reasoning_aware_advantages(
    rewards: Tensor,
    penalised: Tensor,
    group_size: int,
    w_penalty: float,
    scale: Scale = "group",
) -> Tensor:
    """Token-level advantages; with ``w_penalty`` = 0 they are GRPO's, bit for bit.

    Args:
        rewards: float (N,), the G completions of a group adjacent.
        penalised: bool (N, T), tokens of penalised paragraphs.
        group_size: G.
        w_penalty: Share of the reward that penalised paragraphs lose.
        scale: See ``group_statistics``.

    Returns:
        Advantages (N, T), of the dtype of ``rewards``.
    """
    mean, divisor = group_statistics(rewards, group_size, scale)
    kept = (rewards - mean) / divisor
    lowered = (segment_rewards(rewards, w_penalty) - mean) / divisor
    return torch.where(penalised, lowered.unsqueeze(1), kept.unsqueeze(1))


class ReasoningAwareAdvantage:
    """RAAE with its settings: what the trainer calls for each generation.

    Args:
        rule: How advantages are estimated.
    """

    def __init__(self, rule: AdvantageRule):
        self.rule = rule

    def __call__(self, rewards: Tensor, penalised: Tensor, group_size: int) -> Tensor:
        """Advantages (N, T); see ``reasoning_aware_advantages``."""
        return reasoning_aware_advantages(
            rewards, penalised, group_size, self.rule.w_penalty, self.rule.scale
        )
