"""TRL's GRPO trainer with ReRec's three ideas put in.

Narrow subclasses of the pinned TRL: where prompts come from (the curriculum), what a completion
is worth (the dual-graph reward) and token-level advantages (RAAE). Generation, loss, KL,
clipping, logging and distribution stay TRL's. TRL does not promise the methods overridden here;
``tests/training/test_trainer.py`` fails loudly when one of them moves. ``RecTaskTrainer`` is what
all algorithms share, so that they differ in nothing but the algorithm (``baselines.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOConfig, GRPOTrainer, RLOOConfig

from rerec_pipeline.models.backbone import chat_ids
from rerec_pipeline.recbench.task import Example, Messages
from rerec_pipeline.rerec.advantage import ReasoningAwareAdvantage
from rerec_pipeline.rerec.curriculum import Curriculum, difficulties
from rerec_pipeline.training.diagnostics import diagnose_curriculum, diagnose_rollouts, outcomes
from rerec_pipeline.training.rollouts import RolloutScorer, ScoredRollouts
from rerec_pipeline.training.shared_prompts import SharesPrompts

CURRICULUM_FILE = "curriculum.json"

#: One of TRL's trainers that learn from rollouts; a subclass of ``RecTaskTrainer`` says which.
_RolloutTrainer: Any = object


class RecTaskTrainer(_RolloutTrainer):
    """The RecBench+ task, its reward and the online curriculum, put into a trainer of TRL.

    Args:
        examples: The training queries; the curriculum addresses them by position.
        scorer: Turns completion tokens into rewards and penalised paragraphs.
        curriculum: What to visit next; its batch size is the number of prompts of one
            generation over all processes.
        difficulty: Whether difficulty is 1 - reward (paper) or 1 - NDCG (official).
        at_once: Most completions in the making at once in this process; None for no limit.
        args: TRL's configuration; ``max_steps`` must be set, it is the budget.
        **kwargs: Passed on to TRL's trainer.
    """

    def __init__(
        self,
        *,
        examples: Sequence[Example],
        scorer: RolloutScorer,
        curriculum: Curriculum,
        difficulty: Literal["reward", "ndcg"],
        at_once: int | None,
        args: GRPOConfig | RLOOConfig,
        **kwargs: Any,
    ):
        self.examples = list(examples)
        self.scorer = scorer
        self.curriculum = curriculum
        self.difficulty = difficulty
        self.at_once = at_once
        self._group = int(args.num_generations or 1)
        self._scored: ScoredRollouts | None = None
        self._terms: torch.Tensor | None = None
        args.reward_weights = [float(w) for w in scorer.reward.weights.values()]
        # The curriculum owns the data: the trainer's own data set only counts off the budget.
        slots = curriculum.batch_size * max(1, args.max_steps)
        super().__init__(
            args=args,
            reward_funcs=[self._term_function(name) for name in scorer.reward.weights],
            train_dataset=Dataset.from_dict({"prompt": [""] * slots}),
            **kwargs,
        )
        prompts = int(args.generation_batch_size or 0) // self._group
        if prompts != curriculum.batch_size:
            raise ValueError(
                f"a generation has {prompts} prompts, the curriculum serves {curriculum.batch_size}"
            )

    def _build_accelerator_args(self, **kwargs: Any) -> dict[str, Any]:
        # Of several processes each would otherwise hold its gradients twice: 12 GB for 3 B weights.
        args: dict[str, Any] = super()._build_accelerator_args(**kwargs)
        args["kwargs_handlers"][0].gradient_as_bucket_view = True
        return args

    # -- generation: TRL makes all completions of a generation at once, whatever they need --------

    def _portions(self, prompt_ids: list[list[int]]) -> list[list[list[int]]]:
        """The prompts of a generation in portions of at most ``at_once``; vLLM schedules itself."""
        size = len(prompt_ids) if self.use_vllm else self.at_once or len(prompt_ids)
        return [prompt_ids[start : start + size] for start in range(0, len(prompt_ids), size)]

    def _tokenize_prompts(self, prompts: list[Messages]) -> tuple[list[list[int]], None, dict]:
        # As evaluation does: what a query says is text, also where it spells a control token.
        return chat_ids(self.processing_class, prompts, True), None, {}

    # -- reward: each term is a reward function to TRL, all of them scored in one pass ---------

    def _term_function(self, name: str) -> Callable[..., list[float | None]]:
        def term(**_: Any) -> list[float | None]:
            assert self._scored is not None
            return self._scored.scored.terms[name].tolist()

        term.__name__ = name
        return term

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        asked = [self.examples[row["query"]] for row in inputs]
        self._scored = self.scorer.score(completion_ids_list, asked)
        terms: torch.Tensor = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        self._terms = terms
        return terms

    # -- curriculum and advantage ------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self.model is None or not self.model.training:
            return dict(super()._generate_and_score_completions(inputs))
        batch = self.curriculum.next_batch()
        rows = self._local_rows(batch, len(inputs))
        output: dict[str, Any] = super()._generate_and_score_completions(rows)
        terms = self._terms
        assert terms is not None
        rewards = (terms * self.reward_weights.to(terms.device)).nansum(dim=1)
        self._put_advantages(output, rewards)
        expected = self.curriculum.difficulty[batch]
        self._record(batch, rewards, terms)
        self._diagnose(batch, expected, rewards, _of_tokens(output))
        return output

    def _local_rows(self, batch: list[int], count: int) -> list[dict[str, Any]]:
        """This process's share of the batch, each query repeated for its group."""
        rows = [
            {"prompt": self.examples[query].messages, "query": query}
            for query in batch
            for _ in range(self._group)
        ]
        start = self.accelerator.process_index * count
        return rows[start : start + count]

    def _put_advantages(self, output: dict[str, Any], rewards: torch.Tensor) -> None:
        """Replaces TRL's advantages of this process's completions, where an algorithm has its own.

        Args:
            output: What TRL made of the generation, completions (B, T) of this process.
            rewards: Of all processes' completions, (N,).
        """

    def _record(self, batch: list[int], rewards: torch.Tensor, terms: torch.Tensor) -> None:
        """Tells the curriculum how hard the queries were, and logs what ReRec adds."""
        assert self._scored is not None
        names = list(self.scorer.reward.weights)
        basis = rewards if self.difficulty == "reward" else terms[:, names.index("ndcg")]
        hard = difficulties(basis.cpu().numpy(), self._group)
        self.curriculum.record(batch, hard.tolist())
        plan = self.curriculum.plans[-1]
        n_tokens = self._scored.completions.n_tokens
        marked = self._scored.penalised_tokens(int(n_tokens.max())).sum()
        right = float(self._scored.graded.correct.mean())
        local = torch.tensor([right, float(marked / max(n_tokens.sum(), 1))], device=rewards.device)
        accuracy, share = self.accelerator.gather(local).view(-1, 2).mean(dim=0).tolist()
        metrics = self._metrics["train"]
        metrics["accuracy"].append(accuracy)
        metrics["raae/penalised_token_share"].append(share)
        metrics["curriculum/epoch"].append(float(plan.epoch))
        metrics["curriculum/active"].append(float(plan.active))
        metrics["curriculum/batch_difficulty"].append(float(hard.mean()))

    def _diagnose(
        self, batch: list[int], expected: np.ndarray, rewards: torch.Tensor, pushes: torch.Tensor
    ) -> None:
        """Logs what tells why a run learns or does not, of all processes' rollouts."""
        assert self._scored is not None and self._terms is not None
        told = self.accelerator.gather(outcomes(self._scored, pushes))
        paid = self._terms * self.reward_weights.to(self._terms.device)
        names = list(self.scorer.reward.weights)
        found = diagnose_rollouts(rewards, paid, told, names, self._group)
        if self.curriculum.rule.enabled:
            now = self.curriculum.difficulty[batch]
            found |= diagnose_curriculum(expected, now, self.curriculum.rule.tau)
        for name, value in found.items():
            self._metrics["train"][f"diagnosis/{name}"].append(value)

    # -- checkpoints -------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # First, because the trainer's own state, written last, is what makes a checkpoint complete.
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial))
            folder = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CURRICULUM_FILE).write_text(json.dumps(self.curriculum.state_dict()))
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            state = json.loads((Path(checkpoint) / CURRICULUM_FILE).read_text())
            self.curriculum.load_state_dict(state)


def _of_tokens(output: dict[str, Any]) -> torch.Tensor:
    """Advantages (B, T); where an algorithm has one for a completion, that of all its tokens."""
    advantages: torch.Tensor = output["advantages"]
    if advantages.dim() == 2:
        return advantages
    return advantages.unsqueeze(1).expand(output["completion_ids"].shape)


class TaskGRPOTrainer(RecTaskTrainer, SharesPrompts, GRPOTrainer):
    """``RecTaskTrainer`` on TRL's GRPO: completions in portions that fit in memory."""

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *details: Any, **more: Any
    ) -> tuple[list[list[int]], Any]:
        made: list[list[int]] = []
        for part in self._portions(prompt_ids):
            completions, logprobs = super()._generate_single_turn(part, *details, **more)
            made += completions
        return made, logprobs


class ReRecTrainer(TaskGRPOTrainer):
    """GRPO on the RecBench+ task with reward shaping, RAAE and the online curriculum.

    Args:
        advantage: Estimates token-level advantages from rewards and penalised tokens.
        args: TRL's configuration; the scale of rewards is the advantage's.
        **kwargs: See ``RecTaskTrainer``.
    """

    _tag_names = ["trl", "grpo", "rerec"]  # noqa: RUF012  (TRL declares it so)

    def __init__(self, *, advantage: ReasoningAwareAdvantage, args: GRPOConfig, **kwargs: Any):
        self.advantage = advantage
        args.scale_rewards = advantage.rule.scale
        super().__init__(args=args, **kwargs)

    def _put_advantages(self, output: dict[str, Any], rewards: torch.Tensor) -> None:
        output["advantages"] = self._token_advantages(rewards, output["completion_ids"])

    def _token_advantages(
        self, rewards: torch.Tensor, completion_ids: torch.Tensor
    ) -> torch.Tensor:
        """RAAE advantages (B, T) of this process's completions, from all processes' rewards."""
        assert self._scored is not None
        count, width = completion_ids.shape
        start = self.accelerator.process_index * count
        mask = torch.from_numpy(self._scored.penalised_tokens(width)).to(rewards.device)
        everywhere = torch.zeros((len(rewards), width), dtype=torch.bool, device=rewards.device)
        everywhere[start : start + count] = mask
        return self.advantage(rewards, everywhere, self._group)[start : start + count]
