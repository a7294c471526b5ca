"""Parameters of a fine-tuning as the arguments of TRL's and PEFT's configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from trl import SFTConfig

from rerec_pipeline.parameters import (
    BackboneParameters,
    GenerationParameters,
    LoraParameters,
    RFTParameters,
    SupervisedPlan,
    portions,
)
from rerec_pipeline.training.baselines import (
    ReinforcePPConfig,
    ReinforcePPTrainer,
    TaskRLOOConfig,
    TaskRLOOTrainer,
)
from rerec_pipeline.training.config import RecTaskConfig, ReRecConfig
from rerec_pipeline.training.trainer import ReRecTrainer

#: What transformers calls it, from 5.18 on and before (vLLM wants 5.17: requirements-vllm.lock).
CHECKPOINTING = next(
    name
    for name in ("activation_checkpointing", "gradient_checkpointing")
    if name in SFTConfig.__dataclass_fields__
)


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


#: algorithm -> its trainer and what configures it
ALGORITHMS: dict[str, tuple[Any, Any]] = {
    "grpo": (ReRecTrainer, ReRecConfig),
    "reinforce_pp": (ReinforcePPTrainer, ReinforcePPConfig),
    "rloo": (TaskRLOOTrainer, TaskRLOOConfig),
}


def training_config(rft: RFTParameters, seed: int, folder: Path, processes: int) -> RecTaskConfig:
    """The trainer's configuration for our parameters, of the class that the algorithm has.

    Args:
        rft: The parameters.
        seed: Of everything drawn in training.
        folder: Where checkpoints go.
        processes: Number of processes that share a generation.

    Raises:
        BadParameterError: If the processes can not have equal shares of an update.
    """
    config: RecTaskConfig = ALGORITHMS[rft.algorithm][1](
        **_rollout_arguments(rft, processes),
        **_task_arguments(rft),
        **_algorithm_arguments(rft),
        **_shared_arguments(rft.backbone, rft.checkpoint_every, seed, folder),
    )
    return config


def _task_arguments(rft: RFTParameters) -> dict[str, Any]:
    return {
        "term_weights": dict(rft.reward.weights),
        "ndcg_k": rft.reward.k,
        "no_box_ndcg": rft.reward.no_box_ndcg,
        "curriculum": rft.curriculum.enabled,
        "tau": rft.curriculum.tau,
        "review_after": rft.curriculum.review_after,
        "curriculum_seed": rft.curriculum.seed,
        "difficulty": rft.difficulty,
        "max_concurrent_completions": rft.generation.batch_size,
        "share_prompts": rft.share_prompts,
    }


def _algorithm_arguments(rft: RFTParameters) -> dict[str, Any]:
    if rft.algorithm == "grpo":
        settings = rft.advantage.model_dump()
        return {
            "advantage": settings.pop("name"),
            "scale_rewards": settings.pop("scale"),
            "w_penalty": settings.pop("w_penalty"),
            "min_std": settings.pop("min_std"),
            "advantage_settings": settings,
        }
    return {"reward_kl": rft.optimizer.reward_kl} if rft.algorithm == "reinforce_pp" else {}


def _rollout_arguments(rft: RFTParameters, processes: int) -> dict[str, Any]:
    """Arguments of all trainers that learn from rollouts: budget, sampling and objective."""
    budget, optimizer, generation = rft.budget, rft.optimizer, rft.generation
    per_generation = budget.prompts * budget.group_size
    per_device, accumulation = portions(budget.samples_per_update, processes, budget.micro_batch)
    return {
        "max_steps": budget.rollouts // per_generation * budget.updates,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": accumulation,
        "steps_per_generation": accumulation * budget.updates,
        "num_generations": budget.group_size,
        "max_completion_length": generation.max_completion_tokens,
        "temperature": generation.temperature,
        **_vllm_arguments(generation),
        "learning_rate": optimizer.lr,
        "lr_scheduler_type": optimizer.schedule,
        "warmup_steps": optimizer.warmup_steps,
        "weight_decay": optimizer.weight_decay,
        "max_grad_norm": optimizer.max_grad_norm,
        "beta": optimizer.beta,
        "epsilon": optimizer.epsilon,
        CHECKPOINTING: optimizer.gradient_checkpointing,
    }


def _vllm_arguments(generation: GenerationParameters) -> dict[str, Any]:
    engine = generation.vllm_engine
    return {
        "use_vllm": generation.vllm,
        "vllm_mode": engine.mode,
        "vllm_server_base_url": engine.server,
        "vllm_gpu_memory_utilization": engine.gpu_memory,
        "vllm_tensor_parallel_size": engine.tensor_parallel,
        "vllm_enable_sleep_mode": engine.sleep,
        # Otherwise vLLM keeps room for the longest text its model can read (Llama 3.2: 131,072).
        "vllm_max_model_length": generation.max_prompt_tokens + generation.max_completion_tokens,
    }


def sft_config(
    plan: SupervisedPlan, seed: int, folder: Path, steps: int, processes: int
) -> SFTConfig:
    """TRL's configuration of a supervised training.

    Args:
        plan: What it may spend, and how.
        seed: Order of the examples.
        folder: Where checkpoints go.
        steps: Optimizer steps.
        processes: Number of processes that share a batch.

    Raises:
        BadParameterError: If the processes can not have equal shares of a batch.
    """
    per_device, accumulation = portions(plan.batch_size, processes, plan.micro_batch)
    checkpointing: dict[str, Any] = {CHECKPOINTING: plan.gradient_checkpointing}
    return SFTConfig(
        **checkpointing,
        max_steps=steps,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=accumulation,
        learning_rate=plan.lr,
        lr_scheduler_type=plan.schedule,
        weight_decay=plan.weight_decay,
        max_grad_norm=plan.max_grad_norm,
        completion_only_loss=True,
        max_length=None,  # nothing is cut: prompts and answers are within their limits
        include_num_input_tokens_seen="non_padding",
        **_shared_arguments(plan.backbone, plan.checkpoint_every, seed, folder),
    )


def _shared_arguments(
    backbone: BackboneParameters, checkpoint_every: int, seed: int, folder: Path
) -> dict[str, Any]:
    """Arguments of all trainers: precision, seeds, logging and checkpoints."""
    gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "bf16": gpu and backbone.dtype == "bfloat16",
        "fp16": gpu and backbone.dtype == "float16",
        "use_cpu": not gpu,
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "steps",
        "save_steps": checkpoint_every,
    }
