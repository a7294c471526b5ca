"""Fine-tuning of a policy: ReRec's GRPO, or the supervised control, on the same data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import Trainer, TrainerCallback, set_seed
from trl import GRPOConfig, SFTConfig, SFTTrainer

from rerec_pipeline.parameters import LoraParameters, RFTParameters
from rerec_pipeline.policy.backbone import Backbone, chat_ids
from rerec_pipeline.policy.progress import show_progress, train_or_resume
from rerec_pipeline.policy.rollouts import RolloutScorer
from rerec_pipeline.policy.trainer import ReRecTrainer
from rerec_pipeline.recbench.task import Example
from rerec_pipeline.rerec.advantage import ReasoningAwareAdvantage
from rerec_pipeline.rerec.curriculum import Curriculum, EpochPlan


@dataclass
class FineTuned:
    """A fine-tuned policy and the record of how it came about.

    Attributes:
        policy: The policy, in evaluation mode.
        log: One row for each optimizer step.
        epochs: One row for each epoch of the curriculum.
        summary: Totals: steps, rollouts, tokens, seconds.
    """

    policy: Backbone
    log: pd.DataFrame
    epochs: pd.DataFrame
    summary: dict[str, Any]


def lora_config(parameters: LoraParameters | None) -> LoraConfig | None:
    """PEFT's configuration of an adapter; None trains all weights."""
    if parameters is None:
        return None
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=parameters.r,
        lora_alpha=parameters.alpha,
        lora_dropout=parameters.dropout,
        target_modules=parameters.target_modules,
    )


def grpo_config(rft: RFTParameters, seed: int, folder: Path, processes: int) -> GRPOConfig:
    """TRL's configuration for our parameters.

    Args:
        rft: The parameters.
        seed: Of everything drawn in training.
        folder: Where checkpoints go.
        processes: Number of processes that share a generation.
    """
    budget, optimizer = rft.budget, rft.optimizer
    per_generation = budget.prompts * budget.group_size
    accumulation = per_generation // (budget.updates * budget.micro_batch * processes)
    return GRPOConfig(
        output_dir=str(folder),
        max_steps=budget.rollouts // per_generation * budget.updates,
        per_device_train_batch_size=budget.micro_batch,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation * budget.updates,
        num_generations=budget.group_size,
        max_completion_length=rft.generation.max_completion_tokens,
        temperature=rft.generation.temperature,
        use_vllm=rft.generation.vllm,
        learning_rate=optimizer.lr,
        lr_scheduler_type=optimizer.schedule,
        warmup_steps=optimizer.warmup_steps,
        weight_decay=optimizer.weight_decay,
        max_grad_norm=optimizer.max_grad_norm,
        beta=optimizer.beta,
        epsilon=optimizer.epsilon,
        loss_type="dapo",  # token mean over the batch (1/N), as in the paper
        activation_checkpointing=optimizer.gradient_checkpointing,
        **_shared_arguments(rft, seed),
    )


def step_table(history: list[dict[str, float]]) -> pd.DataFrame:
    """A trainer's log history as a table, one row an optimizer step.

    The history is part of a checkpoint, so a resumed run gives the whole of it.
    """
    return pd.DataFrame([row for row in history if "loss" in row])


def fine_tune_grpo(
    backbone: Backbone,
    examples: Sequence[Example],
    scorer: RolloutScorer,
    advantage: ReasoningAwareAdvantage,
    curriculum: Curriculum,
    rft: RFTParameters,
    seed: int,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    """Fine-tunes by GRPO with ReRec's reward, advantage and curriculum.

    A checkpoint in ``folder`` is resumed from if there is one.

    Args:
        backbone: What is fine-tuned, in place.
        examples: Training queries.
        scorer: Scores rollouts.
        advantage: Estimates advantages.
        curriculum: What to visit next.
        rft: The parameters.
        seed: Of everything drawn in training.
        folder: Where checkpoints go.
        callbacks: Told of every logged step.
    """
    set_seed(seed)
    trainer = ReRecTrainer(
        model=backbone.model,
        processing_class=backbone.tokenizer,
        args=grpo_config(rft, seed, folder, _processes()),
        examples=examples,
        scorer=scorer,
        advantage=advantage,
        curriculum=curriculum,
        difficulty=rft.difficulty,
        peft_config=lora_config(rft.backbone.lora),
        callbacks=list(callbacks),
    )
    seconds = _train(trainer, folder)
    tokens = int(trainer.state.num_input_tokens_seen)
    rollouts = trainer.state.global_step * rft.budget.rollouts // trainer.args.max_steps
    summary = {
        "algorithm": "grpo",
        "steps": trainer.state.global_step,
        "samples": rollouts,
        "rollouts": rollouts,
        "tokens": tokens,
        # Of each token: generated or read once (1), trained on (forward 1, backward 2), and
        # read by the reference model where there is a KL term.
        "token_passes": tokens * (4 + (rft.optimizer.beta > 0)),
        "seconds": seconds,
    }
    epochs = pd.DataFrame([epoch_row(plan) for plan in curriculum.plans])
    return FineTuned(
        _policy(trainer, backbone), step_table(trainer.state.log_history), epochs, summary
    )


def epoch_row(plan: EpochPlan) -> dict[str, Any]:
    """One epoch of the curriculum as a row: counts, not the order itself."""
    row = {**vars(plan), "visited": len(plan.order)}
    del row["order"]
    return row


def fine_tune_sft(
    backbone: Backbone,
    examples: Sequence[Example],
    titles: Sequence[str],
    rft: RFTParameters,
    seed: int,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    r"""The supervised control: cross-entropy on ``\boxed{right title}`` with TRL's SFT trainer.

    Trains for as many steps as ``rft.sft.token_passes`` pays for, a training step on one token
    counting three passes (forward 1, backward 2).

    Args:
        backbone: What is fine-tuned, in place.
        examples: Training queries.
        titles: Title of each item index.
        rft: The parameters.
        seed: Order of the examples.
        folder: Where checkpoints go.
        callbacks: Told of every logged step.
    """
    set_seed(seed)
    answers = [
        [{"role": "assistant", "content": f"\\boxed{{{titles[e.truth]}}}"}] for e in examples
    ]
    rows = {"prompt": [e.messages for e in examples], "completion": answers}
    whole = [e.messages + a for e, a in zip(examples, answers, strict=True)]
    lengths = [len(ids) for ids in chat_ids(backbone.tokenizer, whole, False)]
    mean_length = sum(lengths) / len(lengths)
    steps = max(1, int(rft.sft.token_passes / (3 * rft.sft.batch_size * mean_length)))
    trainer = SFTTrainer(
        model=backbone.model,
        processing_class=backbone.tokenizer,
        args=sft_config(rft, seed, folder, steps),
        train_dataset=Dataset.from_dict(rows),
        peft_config=lora_config(rft.backbone.lora),
        callbacks=list(callbacks),
    )
    seconds = _train(trainer, folder)
    summary = {
        "algorithm": "sft",
        "steps": trainer.state.global_step,
        "samples": trainer.state.global_step * rft.sft.batch_size,
        "rollouts": 0,
        "tokens": int(trainer.state.num_input_tokens_seen),
        "token_passes": rft.sft.token_passes,
        "seconds": seconds,
    }
    empty = pd.DataFrame([epoch_row(EpochPlan(0, (), 0, 0, 0, 0, None))]).iloc[:0]
    return FineTuned(
        _policy(trainer, backbone), step_table(trainer.state.log_history), empty, summary
    )


def sft_config(rft: RFTParameters, seed: int, folder: Path, steps: int) -> SFTConfig:
    """TRL's configuration of the supervised control."""
    return SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=rft.sft.batch_size,
        learning_rate=rft.sft.lr,
        lr_scheduler_type=rft.optimizer.schedule,
        weight_decay=rft.optimizer.weight_decay,
        max_grad_norm=rft.optimizer.max_grad_norm,
        activation_checkpointing=rft.optimizer.gradient_checkpointing,
        max_length=rft.generation.max_prompt_tokens + rft.generation.max_completion_tokens,
        include_num_input_tokens_seen="non_padding",
        **_shared_arguments(rft, seed),
    )


def _shared_arguments(rft: RFTParameters, seed: int) -> dict[str, Any]:
    """What both trainers are told about precision, seeds, logging and checkpoints."""
    gpu = torch.cuda.is_available()
    return {
        "bf16": gpu and rft.backbone.dtype != "float32",
        "use_cpu": not gpu,
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "steps",
        "save_steps": rft.checkpoint_every,
        "save_total_limit": 1,
    }


def _processes() -> int:
    """Processes of a distributed launch (``accelerate launch``, ``torchrun``); 1 without."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _train(trainer: Trainer, folder: Path) -> float:
    """Trains, from the last checkpoint if there is one; returns the seconds it took."""
    show_progress(trainer, "loss", "reward", "accuracy", "mean_token_accuracy")
    return train_or_resume(trainer, folder)


def _policy(trainer: Trainer, backbone: Backbone) -> Backbone:
    return Backbone(trainer.accelerator.unwrap_model(trainer.model).eval(), backbone.tokenizer)
