"""TRL's GRPO trainer with ReRec's three ideas put in.

Narrow subclasses of the pinned TRL: where prompts come from (the curriculum), what a completion
is worth (the dual-graph reward) and token-level advantages (RAAE). Generation, loss, KL,
clipping, logging and distribution stay TRL's. TRL does not promise the methods overridden here;
``tests/training/test_trainer.py`` fails loudly when one of them moves. ``RecTaskTrainer`` is what
all algorithms share, so that they differ in nothing but the algorithm (``baselines.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer

from rerec_pipeline.models.backbone import chat_ids, with_weights_in
from rerec_pipeline.models.forms import Forms
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.recbench.task import Messages, RecTask
from rerec_pipeline.rerec.curriculum import Curriculum, difficulties
from rerec_pipeline.rerec.reward import RewardData
from rerec_pipeline.storage.writing import write_bytes
from rerec_pipeline.training.config import RecTaskConfig, ReRecConfig
from rerec_pipeline.training.data import example_from_row
from rerec_pipeline.training.diagnostics import diagnose_curriculum, diagnose_rollouts, outcomes
from rerec_pipeline.training.gathered import gathered
from rerec_pipeline.training.rollouts import RolloutScorer, ScoredRollouts
from rerec_pipeline.training.shared_prompts import SharesPrompts

T = TypeVar("T")

CURRICULUM_FILE = "curriculum.json"

#: One of TRL's trainers that learn from rollouts; a subclass of ``RecTaskTrainer`` says which.
_RolloutTrainer: Any = object


class GenerationRows(list[dict[str, Any]]):
    """The rows of a generation, B completions of this process, and what they turn out to be worth.

    TRL hands the very object that it is given on to ``_calculate_rewards``, but not what that
    returns back: so that is kept here.

    Attributes:
        scored: The completions, scored.
        terms: Unweighted rewards of all processes' completions, one column for each reward
            function, float32 (N, F).
    """

    scored: ScoredRollouts
    terms: torch.Tensor


@dataclass(frozen=True)
class Rollouts:
    """A generation after it has been scored.

    Attributes:
        scored: This process's B completions.
        terms: Unweighted rewards, one column for each reward function, (N, F), of all processes.
        weighted: The same, weighted.
        rewards: Their sum, (N,).
    """

    scored: ScoredRollouts
    terms: torch.Tensor
    weighted: torch.Tensor
    rewards: torch.Tensor


class RecTaskTrainer(_RolloutTrainer):
    """The RecBench+ task, its reward and the online curriculum, put into a trainer of TRL.

    Nothing that is passed in is changed but the model, which is trained.

    Args:
        model: A causal language model, or the name or folder of one.
        args: TRL's configuration with the settings of ``RecTaskConfig``. A generation has
            ``generation_batch_size / num_generations`` prompts. With ``max_steps`` that is the
            budget; without, ``num_train_epochs`` counts passes over as many prompts as there are
            queries, whichever the curriculum chooses.
        train_dataset: The training queries, see ``examples_to_dataset``. Further columns are
            passed on to ``reward_funcs``.
        task: Reads answers and knows titles.
        reward: What the reward terms know about the items.
        reward_funcs: Further reward functions, as TRL takes them; ``args.reward_weights`` are
            their weights (1 each, if None). They also get ``terms``, the values of our own terms
            by name, for each completion.
        reward_processing_classes: See TRL; of ``reward_funcs``.
        **kwargs: Of TRL's trainer: ``processing_class``, ``peft_config``, ``callbacks``,
            ``eval_dataset``, ``optimizers``.

    Raises:
        BadInputError: If the data set lacks a column.
        ValueError: If a setting is unknown or out of range.
    """

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: Any,
        train_dataset: Dataset,
        *,
        task: RecTask,
        reward: RewardData,
        reward_funcs: Any = None,
        reward_processing_classes: Any = None,
        **kwargs: Any,
    ):
        args, further = copy(args), _as_list(reward_funcs)
        own = [_term_function(name) for name in args.term_weights]
        weights = args.reward_weights or [1.0] * len(further)
        args.reward_weights = [*map(float, args.term_weights.values()), *weights]
        whole_reward = args.reward(reward)
        example_from_row(train_dataset[0])  # a missing column is an error before a model is loaded
        self.curriculum = Curriculum(
            len(train_dataset),
            args.generation_batch_size // args.num_generations,
            args.curriculum_config(),
        )
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            reward_funcs=[*own, *further],
            reward_processing_classes=[
                *[None] * len(own), *(_as_list(reward_processing_classes) or [None] * len(further)),
            ],
            **kwargs,
        )  # fmt: skip
        self.scorer = RolloutScorer(task, whole_reward, TokenBytes(self._tokenizer))
        self._form_reader = Forms(self._tokenizer, [self._tokenizer.eos_token_id])
        self._forms: list[str | None] = []  # of the generation that is being made

    def _build_accelerator_args(self, **kwargs: Any) -> dict[str, Any]:
        # Of several processes each would otherwise hold its gradients twice: 12 GB for 3 B weights.
        args: dict[str, Any] = super()._build_accelerator_args(**kwargs)
        args["kwargs_handlers"][0].gradient_as_bucket_view = True
        return args

    # -- data: the curriculum decides what is visited ---------------------------------------------

    def get_train_dataloader(self) -> Any:
        """Empty rows that count off the budget; their places are filled by the curriculum.

        Its next batch depends on the last one's rewards, and a loader reads ahead.
        """
        prompts, steps = self.curriculum.batch_size, self.args.max_steps
        slots = prompts * steps if steps > 0 else max(prompts, len(self.train_dataset))
        return self._get_dataloader(
            dataset=Dataset.from_dict({"prompt": [""] * slots}),
            description="Training",
            batch_size=self._train_batch_size * self.args.steps_per_generation,
            sampler_fn=self._get_train_sampler,
            is_training=True,
        )

    def _local_rows(self, batch: list[int], count: int) -> GenerationRows:
        """This process's share of the batch, each query repeated for its group."""
        asked = (self.train_dataset[query] for query in batch)
        rows = [dict(row) for row in asked for _ in range(self.num_generations)]
        start = self.accelerator.process_index * count
        return GenerationRows(rows[start : start + count])

    # -- generation: TRL makes all completions of a generation at once, whatever they need --------

    def _portions(
        self, prompt_ids: list[list[int]]
    ) -> Iterator[tuple[list[list[int]], dict[str, Any]]]:
        """The prompts of a generation in portions that fit in memory, and how each is made.

        vLLM schedules itself, and draws itself.
        """
        most = None if self.use_vllm else self.args.max_concurrent_completions
        size = most or len(prompt_ids)
        drawn = None if self.use_vllm or not self.model.training else self._draws(len(prompt_ids))
        for start in range(0, len(prompt_ids), size):
            part = slice(start, start + size)
            constraint = self._form_reader.constraint(self._forms[part])
            draws = None if drawn is None else drawn[part]
            yield prompt_ids[part], {"draws": draws, "constraint": constraint}

    def _draws(self, count: int) -> torch.Tensor:
        """Uniform numbers float64 (``count``, T) that choose the tokens of this process's rollouts.

        They follow from seed, step and row, so that rollouts do not depend on how many processes
        make them, nor in which portions.
        """
        chance = np.random.default_rng([self.args.seed, self.state.global_step])
        everywhere = count * self.accelerator.num_processes
        drawn = chance.random((everywhere, self.args.max_completion_length))
        start = self.accelerator.process_index * count
        return torch.from_numpy(drawn[start : start + count])

    def _generate_portions(self, turn: Callable[..., T], prompt_ids: list[list[int]]) -> list[T]:
        """What TRL's generation gives for each portion."""

        def make() -> list[T]:
            return [turn(part, **how) for part, how in self._portions(prompt_ids)]

        with gathered(self.model, self.accelerator):
            return self._in_precision(make)

    def _in_precision(self, make: Callable[[], T]) -> T:
        """Generates with weights in the precision of the arithmetic, as they are kept in the end.

        Otherwise autocast would cast all of them again for every token. Where weights are sharded
        over processes, and where vLLM generates, these keep copies of their own.
        """
        if self.use_vllm or not (self.args.bf16 or self.args.fp16):
            return make()
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return make()
        dtype = torch.bfloat16 if self.args.bf16 else torch.float16
        return with_weights_in(dtype, self.accelerator.unwrap_model(self.model), make)

    def _tokenize_prompts(self, prompts: list[Messages]) -> tuple[list[list[int]], None, dict]:
        # As evaluation does: what a query says is text, also where it spells a control token.
        return chat_ids(self.processing_class, prompts, True), None, {}

    # -- reward: each term is a reward function to TRL, all of them scored in one pass ---------

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        scored = self.scorer.score(completion_ids_list, [example_from_row(row) for row in inputs])
        names = list(scored.scored.terms)
        values = zip(*(scored.scored.terms[name].tolist() for name in names), strict=True)
        rows = [
            {**row, "terms": dict(zip(names, of_row, strict=True))}
            for row, of_row in zip(inputs, values, strict=True)
        ]
        terms: torch.Tensor = super()._calculate_rewards(
            rows, prompts, completions, completion_ids_list
        )
        inputs.scored, inputs.terms = scored, terms
        return terms

    # -- curriculum and advantage ------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            rows = GenerationRows(inputs)
            self._forms = [row.get("form") for row in rows]
            output: dict[str, Any] = super()._generate_and_score_completions(rows)
            self._log_accuracy("eval", rows.scored)
            return output
        batch = self.curriculum.next_batch()
        rows = self._local_rows(batch, len(inputs))
        self._forms = [row.get("form") for row in rows]
        output = super()._generate_and_score_completions(rows)
        weighted = rows.terms * self.reward_weights.to(rows.terms.device)
        rollouts = Rollouts(rows.scored, rows.terms, weighted, weighted.nansum(dim=1))
        output["advantages"] = self._advantages(output, rollouts)
        expected = self.curriculum.difficulty[batch]
        self._record(batch, rollouts)
        self._diagnose(batch, expected, rollouts, _of_tokens(output))
        return output

    def _advantages(self, output: dict[str, Any], rollouts: Rollouts) -> torch.Tensor:
        """Advantages of this process's completions, (B,) or (B, T); TRL's own unless overridden.

        Args:
            output: What TRL made of the generation, completions (B, T).
            rollouts: What they are worth.
        """
        advantages: torch.Tensor = output["advantages"]
        return advantages

    def _record(self, batch: list[int], rollouts: Rollouts) -> None:
        """Tells the curriculum how hard the queries were, and logs what ReRec adds."""
        basis = rollouts.rewards
        if self.args.difficulty == "ndcg":
            basis = rollouts.terms[:, self.reward_func_names.index("ndcg")]
        hard = difficulties(basis.cpu().numpy(), self.num_generations)
        self.curriculum.record(batch, hard.tolist())
        plan = self.curriculum.plans[-1]
        self._log_accuracy("train", rollouts.scored)
        metrics = self._metrics["train"]
        metrics["curriculum/epoch"].append(float(plan.epoch))
        metrics["curriculum/active"].append(float(plan.active))
        metrics["curriculum/batch_difficulty"].append(float(hard.mean()))

    def _log_accuracy(self, mode: str, scored: ScoredRollouts) -> None:
        """Logs the share of right answers, and of tokens in penalised paragraphs."""
        right, n_tokens = scored.graded.correct, scored.completions.n_tokens
        marked = scored.penalised_tokens(int(n_tokens.max())).sum()
        local = torch.tensor([[right.sum(), len(right), marked, n_tokens.sum()]]).float()
        counts = self.accelerator.gather(local.to(self.accelerator.device)).sum(dim=0)
        self._metrics[mode]["accuracy"].append((counts[0] / counts[1]).item())
        self._metrics[mode]["raae/penalised_token_share"].append(
            (counts[2] / counts[3].clamp(min=1)).item()
        )

    def _diagnose(
        self, batch: list[int], expected: np.ndarray, rollouts: Rollouts, advantages: torch.Tensor
    ) -> None:
        """Logs what tells why a run learns or does not, of all processes' rollouts."""
        per_rollout = self.accelerator.gather(outcomes(rollouts.scored, advantages))
        found = diagnose_rollouts(
            rollouts.rewards, rollouts.weighted, per_rollout, self.reward_func_names,
            self.num_generations,
        )  # fmt: skip
        if self.curriculum.config.enabled:
            now = self.curriculum.difficulty[batch]
            found |= diagnose_curriculum(expected, now, self.curriculum.config.tau)
        for name, value in found.items():
            self._metrics["train"][f"diagnosis/{name}"].append(value)

    # -- checkpoints -------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # First, because the trainer's own state, written last, is what makes a checkpoint complete.
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial))
            folder = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            state = json.dumps(self.curriculum.state_dict())
            write_bytes(folder / CURRICULUM_FILE, state.encode())
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            state = json.loads((Path(checkpoint) / CURRICULUM_FILE).read_text())
            self.curriculum.load_state_dict(state)


def _term_function(name: str) -> Callable[..., list[float]]:
    """A reward function, as TRL takes one, that gives one of the values of a row's ``terms``."""

    def term(*, terms: Iterable[dict[str, float]], **_: Any) -> list[float]:
        return [of_row[name] for of_row in terms]

    term.__name__ = name
    return term


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _of_tokens(output: dict[str, Any]) -> torch.Tensor:
    """Advantages (B, T); where an algorithm has one for a completion, that of all its tokens."""
    advantages: torch.Tensor = output["advantages"]
    if advantages.dim() == 2:
        return advantages
    return advantages.unsqueeze(1).expand(output["completion_ids"].shape)


class TaskGRPOTrainer(RecTaskTrainer, SharesPrompts, GRPOTrainer):
    """``RecTaskTrainer`` on TRL's GRPO: completions in portions that fit in memory."""

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: RecTaskConfig,
        train_dataset: Dataset,
        **kwargs: Any,
    ):
        if args.multi_objective_aggregation != "sum_then_normalize":  # type: ignore[attr-defined]
            raise ValueError(
                f"{type(self).__name__} estimates advantages of summed rewards: leave "
                "multi_objective_aggregation at 'sum_then_normalize'"
            )
        super().__init__(model, args, train_dataset, **kwargs)

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *details: Any, **more: Any
    ) -> tuple[list[list[int]], Any]:
        turn = super()._generate_single_turn
        turns = self._generate_portions(
            lambda part, **how: turn(part, *details, **how, **more), prompt_ids
        )
        return [ids for completions, _ in turns for ids in completions], turns[-1][1]


class ReRecTrainer(TaskGRPOTrainer):
    """GRPO on the RecBench+ task with reward shaping, RAAE and the online curriculum.

    Example:
        >>> trainer = ReRecTrainer("model", args, dataset, task=task, reward=reward)
        >>> trainer.train()

    Args:
        model: See ``RecTaskTrainer``.
        args: Settings; ``args.advantage`` names how advantages are estimated.
        train_dataset: See ``RecTaskTrainer``.
        **kwargs: See ``RecTaskTrainer``.
    """

    _tag_names = ["trl", "grpo", "rerec"]  # noqa: RUF012  (TRL declares it so)

    def __init__(
        self, model: str | PreTrainedModel, args: ReRecConfig, train_dataset: Dataset, **kwargs: Any
    ):
        self.advantage = args.advantage_config()
        super().__init__(model, args, train_dataset, **kwargs)

    def _advantages(self, output: dict[str, Any], rollouts: Rollouts) -> torch.Tensor:
        """Advantages (B, T) of this process's completions, from all processes' rewards."""
        rewards = rollouts.rewards
        count, width = output["completion_ids"].shape
        own = slice(start := self.accelerator.process_index * count, start + count)
        mask = torch.from_numpy(rollouts.scored.penalised_tokens(width)).to(rewards.device)
        everywhere = torch.zeros((len(rewards), width), dtype=torch.bool, device=rewards.device)
        everywhere[own] = mask
        return self.advantage(rewards, everywhere, len(rewards) // self.curriculum.batch_size)[own]
