"""Nodes of the RFT pipeline: reward, advantage, curriculum, and the fine-tuning they steer."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from rerec_pipeline.parameters import (
    BackboneParameters,
    DataParameters,
    RewardParameters,
    RFTParameters,
)
from rerec_pipeline.policy.backbone import (
    Backbone,
    check_pretraining,
    load_backbone,
    load_tokenizer,
    too_long,
)
from rerec_pipeline.policy.fine_tuning import fine_tune_grpo, fine_tune_sft
from rerec_pipeline.policy.rollouts import RolloutScorer
from rerec_pipeline.policy.token_bytes import TokenBytes
from rerec_pipeline.recbench.heldout import split_fingerprint
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    examples_from_table,
    graph_from_table,
)
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.rerec.advantage import ReasoningAwareAdvantage
from rerec_pipeline.rerec.curriculum import Curriculum
from rerec_pipeline.rerec.reward import Reward, RewardContext, unit_rows
from rerec_pipeline.rules import AdvantageRule
from rerec_pipeline.tracking import MlflowStepLogger


def build_task(items: pd.DataFrame, data: DataParameters) -> RecTask:
    """The task: prompt, answer parsing, title resolution and scoring in one object."""
    return RecTask(catalogue_from_table(items), data.prompt)


def build_reward(
    task: RecTask,
    attribute_graph: pd.DataFrame,
    lightgcn_embeddings: dict[str, torch.Tensor],
    reward: RewardParameters,
) -> Reward:
    """The dual-graph reward: NDCG@K, QAS on the attribute graph, PAS on LightGCN."""
    context = RewardContext(
        bits=graph_from_table(attribute_graph, task.catalogue).bits,
        embeddings=unit_rows(lightgcn_embeddings["items"].numpy().astype(np.float64)),
        k=reward.k,
        no_box_ndcg=reward.no_box_ndcg,
    )
    return Reward(context, reward.weights)


def build_advantage(rule: AdvantageRule) -> ReasoningAwareAdvantage:
    """Reasoning-aware advantages (RAAE)."""
    return ReasoningAwareAdvantage(rule)


def load_policy_backbone(backbone: BackboneParameters) -> Backbone:
    """The untrained policy: any Hugging Face causal LM, by name or folder."""
    return load_backbone(backbone.name_or_path, backbone.dtype)


def select_training_prompts(
    prompts: pd.DataFrame, task: RecTask, rft: RFTParameters, dataset: str
) -> pd.DataFrame:
    """Training prompts within the backbone's limit of tokens."""
    return select_prompts(prompts, "train", task, rft, dataset)


def select_prompts(
    prompts: pd.DataFrame, split: str, task: RecTask, rft: RFTParameters, dataset: str
) -> pd.DataFrame:
    """Prompts of one split; a longer one stops the run or is left out, as parameters say."""
    check_pretraining(rft.backbone.name_or_path, dataset, split_fingerprint(prompts))
    chosen = prompts[prompts["split"] == split].reset_index(drop=True)
    dropped = too_long(
        load_tokenizer(rft.backbone.name_or_path),
        examples_from_table(chosen, task.catalogue),
        rft.generation.max_prompt_tokens,
        rft.generation.on_long_prompt,
    )
    return chosen[~chosen["query_id"].isin(dropped)].reset_index(drop=True)


def build_curriculum(training_prompts: pd.DataFrame, rft: RFTParameters) -> Curriculum:
    """The online curriculum over the training prompts."""
    return Curriculum(len(training_prompts), rft.budget.prompts, rft.curriculum)


def fine_tune(
    backbone: Backbone,
    training_prompts: pd.DataFrame,
    task: RecTask,
    reward: Reward,
    advantage: ReasoningAwareAdvantage,
    curriculum: Curriculum,
    rft: RFTParameters,
    seed: int,
) -> tuple[Backbone, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Fine-tunes the backbone; gives the policy and the record of its training.

    An interrupted run resumes from its last checkpoint if nothing it depends on has changed.
    """
    examples = examples_from_table(training_prompts, task.catalogue)
    folder = Path(rft.checkpoint_dir) / _fingerprint(training_prompts, reward, rft, seed)
    callbacks = [MlflowStepLogger("rft")]
    if rft.algorithm == "sft":
        tuned = fine_tune_sft(
            backbone, examples, task.catalogue.titles, rft, seed, folder, callbacks
        )
    else:
        scorer = RolloutScorer(task, reward, TokenBytes(backbone.tokenizer))
        tuned = fine_tune_grpo(
            backbone, examples, scorer, advantage, curriculum, rft, seed, folder, callbacks
        )
    shutil.rmtree(folder, ignore_errors=True)  # only an unfinished run is resumed
    return tuned.policy, tuned.log, tuned.epochs, tuned.summary


def _fingerprint(
    training_prompts: pd.DataFrame, reward: Reward, rft: RFTParameters, seed: int
) -> str:
    """Names a run's checkpoints by all that the run depends on."""
    digest = hashlib.sha256(rft.model_dump_json(exclude={"checkpoint_dir"}).encode())
    digest.update(training_prompts.to_json().encode())
    digest.update(reward.context.bits.tobytes())
    digest.update(reward.context.embeddings.tobytes())
    digest.update(str(seed).encode())
    return digest.hexdigest()[:16]
