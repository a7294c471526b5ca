"""Fine-tuning of a policy: by reinforcement (ReRec and its baselines) or supervised."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import trl.trainer.utils
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, set_seed
from trl import SFTTrainer

from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.models.backbone import (
    Backbone,
    cast_weights,
    chat_ids,
    load_backbone,
    prompt_ids,
)
from rerec_pipeline.models.fixed_rows import FIXED_FROM, hold_fixed_rows
from rerec_pipeline.parameters import BackboneParameters, RFTParameters, SupervisedPlan
from rerec_pipeline.recbench.task import Example, Messages, RecTask
from rerec_pipeline.rerec.curriculum import EpochPlan
from rerec_pipeline.rerec.reward import RewardData
from rerec_pipeline.storage.records import replacing
from rerec_pipeline.training import ranks
from rerec_pipeline.training.arguments import ALGORITHMS, lora_config, sft_config, training_config
from rerec_pipeline.training.data import examples_to_dataset
from rerec_pipeline.training.progress import (
    peak_memory_bytes,
    sharding,
    show_progress,
    train_or_resume,
)

logger = logging.getLogger(__name__)


@dataclass
class FineTuned:
    """A fine-tuned policy and the record of how it came about.

    Attributes:
        policy: The policy, in evaluation mode.
        log: One row for each optimizer step.
        epochs: One row for each epoch of the curriculum.
        summary: Totals: steps, samples, rollouts, tokens, token_passes, seconds, and
            peak_memory_bytes.
    """

    policy: Backbone
    log: pd.DataFrame
    epochs: pd.DataFrame
    summary: dict[str, Any]


def step_table(history: list[dict[str, float]]) -> pd.DataFrame:
    """A trainer's log history as a table with one row for each optimizer step.

    A checkpoint holds the history, so a resumed run has all of it. Columns are sorted by name,
    because a checkpoint sorts them.

    Args:
        history: Entries of ``trainer.state.log_history``; those without a loss are no steps.
    """
    return pd.DataFrame([row for row in history if "loss" in row]).sort_index(axis=1)


def fine_tune_rl(
    backbone: Backbone,
    examples: Sequence[Example],
    task: RecTask,
    reward: RewardData,
    rft: RFTParameters,
    seed: int,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    """Fine-tunes on rollouts, by the algorithm that the parameters name.

    Resumes from the last checkpoint in ``folder`` if there is one.

    Args:
        backbone: What is fine-tuned, in place.
        examples: Training queries.
        task: Reads answers and knows titles.
        reward: What the reward terms know about the items.
        rft: The parameters.
        seed: Seed of everything drawn in training.
        folder: Where checkpoints go.
        callbacks: Told of every logged step.

    Returns:
        The policy and its record. Where the weights are sharded over several ranks (FSDP, ZeRO-3),
        all ranks call this, and only rank 0 gets the whole policy.
    """
    trainer = ALGORITHMS[rft.algorithm][0](
        backbone.model,
        training_config(rft, seed, folder, ranks.count()),
        examples_to_dataset(examples),
        task=task,
        reward=reward,
        processing_class=backbone.tokenizer,
        peft_config=lora_config(rft.backbone.lora),
        callbacks=list(callbacks),
    )
    seconds = _train(trainer, folder, rft)
    rollouts = trainer.state.global_step * rft.budget.rollouts // trainer.args.max_steps
    passes = int(trainer.state.num_input_tokens_seen) * passes_per_token(rft)
    summary = _summary(trainer, rft.algorithm, rollouts, rollouts, passes, seconds)
    epochs = pd.DataFrame([epoch_row(plan) for plan in trainer.curriculum.plans])
    return FineTuned(
        _policy(trainer, backbone, rft.backbone, folder),
        step_table(trainer.state.log_history),
        epochs,
        summary,
    )


def passes_per_token(rft: RFTParameters) -> int:
    """Forward passes that each token of the rollouts costs; a backward pass counts as two.

    A token is generated or read (1) and trained on (forward 1, backward 2). The reference model
    reads it once if there is a KL. The policy reads it once more if its log-probabilities are
    needed: after the policy has changed, for RLOO's ratio, for REINFORCE++'s reward, or beside
    vLLM's.
    """
    return 4 + (rft.optimizer.beta > 0) + rft.reads_again


def epoch_row(plan: EpochPlan) -> dict[str, Any]:
    """One epoch of the curriculum as a row: its counts, without the order of the queries."""
    row = {**vars(plan), "visited": len(plan.order)}
    del row["order"]
    return row


def boxed_answer(example: Example, titles: Sequence[str]) -> str:
    r"""The right answer of an example without reasoning: ``\boxed{title}``."""
    return f"\\boxed{{{titles[example.truth]}}}"


#: Passes of a token that is taught: forward 1, backward 2.
_PASSES_OF_LESSONS = 3


class _LessonsTrainer(SFTTrainer):
    """TRL's SFT trainer, whose count of tokens goes on when a training is resumed.

    TRL's own would begin again at zero.
    """

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        self._total_train_tokens = int(self.state.num_input_tokens_seen)


def fine_tune_sft(
    backbone: Backbone,
    lessons: Sequence[tuple[Example, str]],
    plan: SupervisedPlan,
    seed: int,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    r"""Supervised training: cross-entropy on right responses with TRL's SFT trainer.

    Trains for as many steps as ``plan.token_passes`` allows for lessons of mean length, at least
    one; the summary says what was spent. Resumes from the last checkpoint in ``folder``.

    Args:
        backbone: What is fine-tuned, in place.
        lessons: Training queries, each with the response that is taught: ``\boxed{right title}``,
            or a reasoning trace that ends in it.
        plan: Budget and settings.
        seed: Seed of the order of the examples.
        folder: Where checkpoints go.
        callbacks: Told of every logged step.
    """
    set_seed(seed)
    examples = [example for example, _ in lessons]
    answers = [[{"role": "assistant", "content": response}] for _, response in lessons]
    rows = tokenized_lessons(backbone.tokenizer, examples, answers, plan.longest)
    mean_length = sum(map(len, rows["input_ids"])) / len(answers)
    of_a_step = _PASSES_OF_LESSONS * plan.batch_size * mean_length
    steps = max(1, int(plan.token_passes / of_a_step))
    trainer = _LessonsTrainer(
        model=backbone.model,
        processing_class=backbone.tokenizer,
        args=sft_config(plan, seed, folder, steps, ranks.count()),
        train_dataset=Dataset.from_dict(rows),
        peft_config=lora_config(plan.backbone.lora),
        callbacks=list(callbacks),
    )
    seconds = _train(trainer, folder, plan)
    samples = trainer.state.global_step * plan.batch_size
    passes = _PASSES_OF_LESSONS * int(trainer.state.num_input_tokens_seen)
    summary = _summary(trainer, "sft", samples, 0, passes, seconds)
    # No curriculum: a table without rows, with the columns that other algorithms have.
    empty = pd.DataFrame([epoch_row(EpochPlan(0, (), 0, 0, 0, 0, None))]).iloc[:0]
    return FineTuned(
        _policy(trainer, backbone, plan.backbone, folder),
        step_table(trainer.state.log_history),
        empty,
        summary,
    )


def _summary(
    trainer: Trainer,
    algorithm: str,
    samples: int,
    rollouts: int,
    token_passes: int,
    seconds: float,
) -> dict[str, Any]:
    """Totals of a training, under the same names for every algorithm."""
    return {
        "algorithm": algorithm,
        "steps": trainer.state.global_step,
        "samples": samples,
        "rollouts": rollouts,
        "tokens": int(trainer.state.num_input_tokens_seen),
        "token_passes": token_passes,
        "seconds": seconds,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def tokenized_lessons(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    answers: Sequence[Messages],
    limit: int,
) -> dict[str, list[list[int]]]:
    """Prompts with their answers as tokens, in the columns that TRL's SFT trainer reads.

    TRL could tokenize them itself, but it would read a control token that a query spells out as
    that token.

    Args:
        tokenizer: The backbone's.
        examples: What is asked, N examples.
        answers: What is taught, N lists of messages, all of the assistant.
        limit: Most tokens of a completion; longer answers are counted in a warning.

    Returns:
        ``input_ids``: tokens of each prompt with its answer. ``completion_mask``: 1 for the tokens
        that are learned, from the first one that the prompt alone does not have; 0 before.
    """
    chats = [e.messages + a for e, a in zip(examples, answers, strict=True)]
    prompts = prompt_ids(tokenizer, examples)
    whole = chat_ids(tokenizer, chats, False)
    long = sum(len(w) - len(p) > limit for p, w in zip(prompts, whole, strict=True))
    if long:
        logger.warning(
            "%d of %d right answers have more than %d tokens: they are taught whole, but a "
            "completion is cut there (rft.generation.max_completion_tokens)",
            long, len(whole), limit,
        )  # fmt: skip
    mask = []
    for p, w in zip(prompts, whole, strict=True):
        differs = (n for n, (of_p, of_w) in enumerate(zip(p, w, strict=False)) if of_p != of_w)
        start = next(differs, min(len(p), len(w)))
        mask.append([0] * start + [1] * (len(w) - start))
    return {"input_ids": whole, "completion_mask": mask}


#: Logged numbers that are shown beside the progress bar of a training.
SHOWN = ("loss", "reward", "accuracy", "mean_token_accuracy")


def _train(trainer: Trainer, folder: Path, plan: RFTParameters | SupervisedPlan) -> float:
    """Trains, from the last checkpoint if there is one; returns the seconds it took."""
    show_progress(trainer, *SHOWN)
    _hold_fixed_rows(trainer)
    with learned_positions_alone():
        return train_or_resume(trainer, folder, rank_bound(plan))


def _hold_fixed_rows(trainer: Trainer) -> None:
    model: Any = trainer.model
    if sharding(trainer) in ("fsdp", "zero3") and hasattr(model.config, FIXED_FROM):
        raise BadParameterError(
            "launch.preset: a backbone made from scratch keeps the embeddings of its phrases, and "
            f"{sharding(trainer)} would train them; set launch.preset=ddp"
        )
    hold_fixed_rows(model)


@contextmanager
def learned_positions_alone() -> Iterator[None]:
    """Makes TRL score only the positions that are learned, on CPUs as it does on GPUs.

    On other devices than GPUs, TRL also scores the prompt over the whole vocabulary and drops the
    result, because some accelerators are slow where shapes change (``add_fused_lm_head`` in TRL).
    The values are the same.
    """
    original = trl.trainer.utils._use_triton
    trl.trainer.utils._use_triton = lambda device: device.type == "cpu" or original(device)
    try:
        yield
    finally:
        trl.trainer.utils._use_triton = original


def rank_bound(plan: RFTParameters | SupervisedPlan) -> str | None:
    """Why the results of a training depend on the number of ranks; None if they do not.

    By default they do not: random draws of a rollout follow from seed, step and row
    (``RecTaskTrainer``), whichever rank makes them, and an optimizer step sums over all ranks.
    """
    if isinstance(plan, SupervisedPlan):
        return "several ranks fill up the last batch of an epoch of what is taught"
    lora = plan.backbone.lora
    reasons = {
        "rollouts are dealt out to several updates within each rank (rft.budget.updates)": (
            plan.budget.updates > 1
        ),
        "vLLM draws by itself on each rank (rft.generation.vllm)": plan.generation.vllm,
        "each rank draws its own dropout (rft.backbone.lora.dropout)": (
            lora is not None and lora.dropout > 0
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _policy(
    trainer: Trainer, backbone: Backbone, parameters: BackboneParameters, folder: Path
) -> Backbone:
    """The tuned model without its trainer, in the backbone's precision, in the CPU's memory.

    Where the weights are sharded, rank 0 writes the whole model and loads it again; the other
    ranks return the shards that they hold.
    """
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    if sharding(trainer) in ("fsdp", "zero3"):
        whole = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # all ranks take part
        if not ranks.is_main():
            return Backbone(model, backbone.tokenizer)
        dtype = "float32" if parameters.lora is None else parameters.dtype
        with replacing(folder / "whole") as beside:
            model.save_pretrained(beside, state_dict=whole)
            backbone.tokenizer.save_pretrained(beside)
        model = load_backbone(str(folder / "whole"), dtype).model
    model = model.to("cpu")
    if parameters.lora is None:
        cast_weights(model, parameters.dtype)
    return Backbone(model, backbone.tokenizer)
