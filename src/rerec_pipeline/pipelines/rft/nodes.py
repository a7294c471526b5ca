"""Nodes of the RFT pipeline: task, reward and prompts, and the fine-tuning they steer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.backbone import (
    Backbone,
    check_pretraining,
    length_report,
    load_tokenizer,
    prompt_ids,
    too_long,
)
from rerec_pipeline.models.devices import free_memory
from rerec_pipeline.parameters import (
    BackboneParameters,
    DataParameters,
    GenerationParameters,
    LaunchParameters,
    RewardParameters,
    RFTParameters,
)
from rerec_pipeline.pipelines.rft.traces import in_form, traced_lessons
from rerec_pipeline.recbench.heldout import split_fingerprint
from rerec_pipeline.recbench.splits import SPLITS
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    examples_from_table,
    graph_from_table,
    item_values,
    lists_right_item,
)
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.rerec.reward import Reward, RewardContext, unit_rows
from rerec_pipeline.storage.checkpoints import fingerprint
from rerec_pipeline.tracking import MlflowStepLogger
from rerec_pipeline.training.fine_tuning import boxed_answer
from rerec_pipeline.training.jobs import RolloutTraining, SupervisedTraining, Training
from rerec_pipeline.training.launching import train

logger = logging.getLogger(__name__)


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
        extra={
            name: item_values(_read_table(Path(file)), file, task.catalogue)
            for name, file in reward.data.items()
        },
    )
    return Reward(context, reward.weights)


def _read_table(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise BadInputError(file, "there is no such file", remedy="See rft.reward.data")
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        return pd.read_csv(file, dtype="str")
    except (ValueError, OSError) as exc:  # pandas' and Arrow's errors are of these kinds
        kind = "Parquet" if file.suffix == ".parquet" else "CSV"
        problem = f"can not be read as {kind} ({str(exc).splitlines()[0] if str(exc) else exc!r})"
        raise BadInputError(file, problem, remedy="See rft.reward.data") from None


def report_prompt_lengths(
    prompts: pd.DataFrame,
    task: RecTask,
    backbone_record: dict[str, Any],
    backbone: BackboneParameters,
    generation: GenerationParameters,
) -> dict[str, Any]:
    """Tokens of the prompts of each split as this backbone reads them, and how many are too long.

    It comes before anything that such a prompt stops, so that the whole extent is known.
    """
    tokenizer = load_tokenizer(backbone_record["name_or_path"], backbone.template_values)
    limit = generation.max_prompt_tokens
    report: dict[str, Any] = {"limit": limit, "on_long_prompt": generation.on_long_prompt}
    for split in SPLITS:
        examples = examples_from_table(prompts[prompts["split"] == split], task.catalogue)
        lengths = [len(ids) for ids in prompt_ids(tokenizer, examples)] if examples else []
        report[split] = length_report(lengths, limit)
        logger.info(
            "%d %s prompts, %d tokens at most, %d over the limit of %d",
            len(lengths), split, max(lengths, default=0), report[split]["over_limit"], limit,
        )  # fmt: skip
    return report


def select_training_prompts(
    prompts: pd.DataFrame,
    task: RecTask,
    backbone_record: dict[str, Any],
    backbone: BackboneParameters,
    generation: GenerationParameters,
    dataset: str,
) -> pd.DataFrame:
    """Training prompts within the backbone's limit of tokens, with the right item in their list.

    Where candidates are retrieved, a list may lack it: no answer to it could be rewarded.
    """
    name_or_path = backbone_record["name_or_path"]
    chosen = select_prompts(prompts, "train", task, name_or_path, backbone, generation, dataset)
    listed = lists_right_item(chosen)
    if listed.all():
        return chosen
    logger.info("Left out %d training prompts: their right item was not found", (~listed).sum())
    if not listed.any():
        raise BadInputError(
            "training prompts", "retrieval finds no right item of any", field="candidate_ids",
            remedy="Set data.candidates.source=drawn, or a larger data.candidates.size",
        )  # fmt: skip
    return chosen[listed].reset_index(drop=True)


def select_prompts(
    prompts: pd.DataFrame,
    split: str,
    task: RecTask,
    name_or_path: str,
    backbone: BackboneParameters,
    generation: GenerationParameters,
    dataset: str,
) -> pd.DataFrame:
    """Prompts of one split; a longer one stops the run or is left out, as parameters say."""
    check_pretraining(name_or_path, dataset, split_fingerprint(prompts))
    chosen = prompts[prompts["split"] == split].reset_index(drop=True)
    return within_limit(chosen, task, name_or_path, backbone, generation)


def within_limit(
    prompts: pd.DataFrame,
    task: RecTask,
    name_or_path: str,
    backbone: BackboneParameters,
    generation: GenerationParameters,
) -> pd.DataFrame:
    """Prompts without those that are too long, if parameters do not say to stop at one."""
    dropped = too_long(
        load_tokenizer(name_or_path, backbone.template_values),
        examples_from_table(prompts, task.catalogue),
        generation.max_prompt_tokens,
        generation.on_long_prompt,
    )
    return prompts[~prompts["query_id"].isin(dropped)].reset_index(drop=True)


def fine_tune(
    start_record: dict[str, Any],
    training_prompts: pd.DataFrame,
    task: RecTask,
    reward: Reward,
    reasoning_traces: pd.DataFrame,
    rft: RFTParameters,
    seed: int,
    launch: LaunchParameters,
    training_forms: dict[str, str],
) -> tuple[Backbone, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Fine-tunes what there is to start from; gives the policy and the record of its training.

    An interrupted run resumes from its last checkpoint if nothing it depends on has changed.
    """
    examples = in_form(examples_from_table(training_prompts, task.catalogue), training_forms)
    tables = (training_prompts, reasoning_traces)
    context = (reward.context.bits, reward.context.embeddings, *reward.context.extra.values())
    followed = (rft, start_record.get("made_by"), *tables, *context, seed)
    name, folder = start_record["name_or_path"], Path(rft.checkpoint_dir)
    work: Training = RolloutTraining(name, seed, examples, task, reward.context, rft)
    if rft.algorithm == "sft":
        lessons = [(e, boxed_answer(e, task.catalogue.titles)) for e in examples]
        if rft.teaches_traces:
            lessons = traced_lessons(examples, reasoning_traces)
        work = SupervisedTraining(name, seed, lessons, rft.supervised)
    folder /= fingerprint(*followed)[:16]
    tuned = train(work, launch, folder, [MlflowStepLogger("rft")])
    free_memory()
    summary = {**tuned.summary, "cold_start": start_record["cold_start"]}
    return tuned.policy, tuned.log, tuned.epochs, summary
