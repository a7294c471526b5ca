"""The algorithms that ReRec is compared with, on the same task, rollouts and budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from trl import GRPOConfig, RLOOConfig, RLOOTrainer
from trl.models.utils import disable_gradient_checkpointing

from rerec_pipeline.configs import KLEstimator
from rerec_pipeline.rerec.returns import moments, penalised_returns, standardise, token_kl
from rerec_pipeline.training.config import RecTaskConfig
from rerec_pipeline.training.shared_prompts import SharesPrompts
from rerec_pipeline.training.trainer import RecTaskTrainer, Rollouts, TaskGRPOTrainer


@dataclass
class ReinforcePPConfig(RecTaskConfig, GRPOConfig):
    """TRL's ``GRPOConfig`` with the settings of the task, and those of REINFORCE++."""

    loss_type: str = field(default="dapo", metadata={"help": "Token mean over the batch (1/N)."})
    reward_kl: KLEstimator = field(
        default="k1", metadata={"help": "Estimator of the KL in the reward: k1, k2 or k3."}
    )


@dataclass
class TaskRLOOConfig(RecTaskConfig, RLOOConfig):
    """TRL's ``RLOOConfig`` with the settings of the task."""


class ReinforcePPTrainer(TaskGRPOTrainer):
    """REINFORCE++ (Hu, arXiv 2501.03262): KL in the reward, normalised over the whole batch.

    Sampling, clipped loss and token mean are those of ``grpo``. TRL keeps the reference model and
    its log-probabilities because ``beta`` is set; the loss is computed without the KL, which the
    advantages hold already. ``args`` is a ``ReinforcePPConfig``; for the rest see
    ``RecTaskTrainer``.
    """

    _tag_names = ["trl", "reinforce-plus-plus", "rerec"]  # noqa: RUF012  (TRL declares it so)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        beta, self.beta = self.beta, 0.0
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self.beta = beta

    def _advantages(self, output: dict[str, Any], rollouts: Rollouts) -> torch.Tensor:
        mask = output["completion_mask"].bool()
        start = self.accelerator.process_index * len(mask)
        own = rollouts.rewards[start : start + len(mask)]
        kl = self._token_kl(output, mask) if self.beta else torch.zeros(mask.shape).to(own)
        returns = penalised_returns(own, kl, mask, self.beta)
        total = self.accelerator.reduce(moments(returns, mask), reduction="sum")
        return standardise(returns, mask, total)

    def _token_kl(self, output: dict[str, Any], mask: torch.Tensor) -> torch.Tensor:
        """KL estimates (B, T) of this process's tokens; their mean over all is logged.

        Raises:
            RuntimeError: If TRL has left out the reference policy's log-probabilities.
        """
        if "ref_per_token_logps" not in output:
            raise RuntimeError(
                "TRL gave no log-probabilities of the reference policy (ref_per_token_logps): "
                "without them REINFORCE++ has no KL in its reward"
            )
        policy = output.get("old_per_token_logps")
        if policy is None:  # TRL reads the rollouts only if several updates follow
            policy = self._read_again(output)
        args: Any = self.args
        kl = token_kl(policy, output["ref_per_token_logps"], args.reward_kl)
        count, summed, _ = self.accelerator.reduce(moments(kl, mask), reduction="sum").tolist()
        self._metrics["train"]["kl"].append(summed / max(count, 1))
        return kl

    def _read_again(self, output: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities (B, T) of the policy that made the rollouts, by TRL's own method."""
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        model: Any = self.model
        checkpointing: Any = self.args.gradient_checkpointing_kwargs
        with torch.no_grad(), disable_gradient_checkpointing(model, checkpointing):
            logps: torch.Tensor = self._get_per_token_logps_and_entropies(
                model,
                ids,
                mask,
                output["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
            )[0]
        return logps


class TaskRLOOTrainer(RecTaskTrainer, SharesPrompts, RLOOTrainer):
    """RLOO (Ahmadian et al. 2024): each rollout against the mean of the others of its group.

    Advantage, KL in the reward and the clipped loss over whole completions are TRL's own; only
    the task, the curriculum and completions in portions are put in. ``args`` is a
    ``TaskRLOOConfig``; for the rest see ``RecTaskTrainer``.
    """

    _tag_names = ["trl", "rloo", "rerec"]  # noqa: RUF012  (TRL declares it so)

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *details: Any, **more: Any
    ) -> list[list[int]]:
        turn = super()._generate_single_turn
        turns = self._generate_portions(
            lambda part, **how: turn(part, *details, **how, **more), prompt_ids
        )
        return [ids for completions in turns for ids in completions]
