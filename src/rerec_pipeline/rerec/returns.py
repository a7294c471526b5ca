r"""Token-level returns of REINFORCE++ (Hu, arXiv 2501.03262): no group, no baseline.

The KL to the reference policy is part of the reward: a token answers for the reward of its
completion and for the KL from there to the end. What is left is made comparable by the mean and
the standard deviation of all tokens of the whole batch:

.. math:: A_{i,t} = r_i - \beta \sum_{s \ge t} \mathrm{KL}_{i,s}, \qquad
          \hat A_{i,t} = \frac{A_{i,t} - \mathrm{mean}(A)}{\mathrm{std}(A)}

The batch may be spread over processes: each gives its ``moments``, their sum normalises all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rerec_pipeline.configs import KLEstimator

#: Least variance that is divided by: a batch of equal returns gets advantages of 0.
LEAST_VARIANCE = 1e-8


def token_kl(policy: Tensor, reference: Tensor, estimator: KLEstimator) -> Tensor:
    r"""Estimates the KL of the policy to the reference from the tokens that were drawn.

    With :math:`\rho = \log \pi_{old} - \log \pi_{ref}` (Schulman, "Approximating KL divergence"):
    k1 is :math:`\rho` (the paper's, unbiased, of either sign), k2 :math:`\rho^2 / 2`, k3
    :math:`e^{-\rho} - 1 + \rho` (what GRPO has in its loss).

    Args:
        policy: Log-probabilities of the policy that drew the tokens, (N, T).
        reference: Those of the reference policy, (N, T).
        estimator: k1, k2 or k3.

    Returns:
        Estimates (N, T).

    Raises:
        ValueError: If the estimator is unknown.
    """
    ratio = policy - reference
    if estimator == "k1":
        return ratio
    if estimator == "k2":
        return ratio**2 / 2
    if estimator == "k3":
        return torch.exp(-ratio) - 1 + ratio
    raise ValueError(f"unknown estimator '{estimator}': use k1, k2 or k3")


def penalised_returns(rewards: Tensor, kl: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Return of every token: the completion's reward, less the KL from this token on.

    Args:
        rewards: float (N,), one for each completion.
        kl: float (N, T), the KL estimate of each token.
        mask: bool (N, T), the tokens of the completion; the rest is padding.
        beta: Coefficient of the KL.

    Returns:
        Returns (N, T); 0 on padding.
    """
    # Chosen, not multiplied: what a padding token is worth may be infinite.
    own = torch.where(mask, kl, torch.zeros_like(kl))
    to_come = own.flip(1).cumsum(1).flip(1)
    returns = rewards.unsqueeze(1) - beta * to_come
    return torch.where(mask, returns, torch.zeros_like(returns))


def moments(values: Tensor, mask: Tensor) -> Tensor:
    """Number, sum and sum of squares of the unmasked values: float64 (3,), to be added up."""
    chosen = values[mask].double()
    return torch.stack([mask.sum().double(), chosen.sum(), (chosen**2).sum()])


def standardise(values: Tensor, mask: Tensor, total: Tensor) -> Tensor:
    """Takes away the batch's mean and divides by its standard deviation (of the population).

    Args:
        values: Returns (N, T).
        mask: bool (N, T).
        total: ``moments`` of the whole batch, (3,): the sum of what the processes hold.

    Returns:
        Advantages (N, T), of the dtype of ``values``: over the batch's unmasked tokens of mean 0
        and standard deviation 1, and 0 on padding.
    """
    count, summed, squares = total
    count = count.clamp(min=1)
    mean = summed / count
    variance = (squares / count - mean**2).clamp(min=LEAST_VARIANCE)
    scaled = ((values.double() - mean) / variance.sqrt()).to(values.dtype)
    return torch.where(mask, scaled, torch.zeros_like(scaled))
