"""Nodes of the RFT pipeline: traces that are imitated, and the cold start on them."""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from rerec_pipeline.configs import Habits
from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.traces import FormWriter, TraceWriter
from rerec_pipeline.models.backbone import merged, save_backbone
from rerec_pipeline.models.devices import free_memory
from rerec_pipeline.parameters import (
    BackboneParameters,
    ColdStartParameters,
    DataParameters,
    GenerationParameters,
    LaunchParameters,
    RFTParameters,
)
from rerec_pipeline.parameters.backbone import MADE_BY
from rerec_pipeline.pipelines.rft.backbone import named_model
from rerec_pipeline.recbench.heldout import held_out_pairs
from rerec_pipeline.recbench.reading import decode, read_json_lines
from rerec_pipeline.recbench.recorded import recorded_traces
from rerec_pipeline.recbench.tables import examples_from_table
from rerec_pipeline.recbench.task import Example, RecTask
from rerec_pipeline.storage.checkpoints import fingerprint
from rerec_pipeline.tracking import MlflowStepLogger
from rerec_pipeline.training.jobs import SupervisedTraining
from rerec_pipeline.training.launching import train
from rerec_pipeline.training.scratch import is_made

logger = logging.getLogger(__name__)


def collect_traces(
    training_prompts: pd.DataFrame,
    prompts: pd.DataFrame,
    queries: pd.DataFrame,
    items: pd.DataFrame,
    task: RecTask,
    data: DataParameters,
    rft: RFTParameters,
    habits: Habits,
    seed: int,
) -> pd.DataFrame:
    """Reasoning that is to be imitated: query_id, response. Empty where the variant does not."""
    traces: list[tuple[str, str]] = []
    if rft.teaches_traces:
        examples = examples_from_table(training_prompts, task.catalogue)
        if rft.sft.traces is not None:
            traces = _traces_from_file(Path(rft.sft.traces), examples, prompts, task)
        else:
            heldout = held_out_pairs(prompts, queries, items, ["validation", "test"])
            texts = dict(zip(queries["query_id"], queries["text"], strict=True))
            traces = _traces_of_world(examples, texts, task, data, heldout, habits, seed)
        taught = len({query for query, _ in traces})
        logger.info("%d traces, of %d of %d training queries", len(traces), taught, len(examples))
    return pd.DataFrame(traces, columns=["query_id", "response"]).astype("str")


def _traces_from_file(
    file: Path, examples: Sequence[Example], prompts: pd.DataFrame, task: RecTask
) -> list[tuple[str, str]]:
    records = read_json_lines(decode(file.read_bytes(), file), file)
    splits = dict(zip(prompts["query_id"], prompts["split"], strict=True))
    by_id = {example.query_id: example for example in examples}
    return recorded_traces(records, splits, by_id, task, file)


def _traces_of_world(
    examples: Sequence[Example],
    texts: dict[str, str],
    task: RecTask,
    data: DataParameters,
    heldout: set[tuple[Hashable, int]],
    habits: Habits,
    seed: int,
) -> list[tuple[str, str]]:
    """Traces of the naive reasoner that end in the right item of a fabricated world's query."""
    from rerec_pipeline.sample.layout import fabricate_asks
    from rerec_pipeline.sample.traces import right_traces

    assert data.world is not None  # checked with the parameters: only a fabricated one needs none
    world, asks = fabricate_asks(data.domain, data.world)
    ids = task.catalogue.item_ids
    asked = {
        e.query_id: (asks[texts[e.query_id]], ids[e.truth], [ids[c] for c in e.candidates])
        for e in examples
    }
    return list(right_traces(world, asked, heldout, habits, seed).items())


def write_cold_start_traces(
    training_prompts: pd.DataFrame,
    prompts: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    task: RecTask,
    cold_start: ColdStartParameters,
) -> pd.DataFrame:
    """Reasoning that a policy is taught before reinforcement: query_id, response.

    It is true and of training queries alone. Empty without a cold start.
    """
    traces: list[tuple[str, str]] = []
    if cold_start.enabled:
        examples = examples_from_table(training_prompts, task.catalogue)
        if cold_start.traces == "graph":
            linker = Linker(task.catalogue, Facts.of_table(attribute_graph, task.catalogue))
            ranked = task.wording.order == "graph"
            writer = TraceWriter(linker, task.wording, ranked, cold_start.seed)
            texts = tqdm(training_prompts["text"], desc="Writing traces", unit="query")
            asked = zip(texts, examples, strict=True)
            traces = [(e.query_id, writer.write(text, e.candidates, e.truth)) for text, e in asked]
        else:
            traces = _traces_from_file(Path(cold_start.traces), examples, prompts, task)
    return pd.DataFrame(traces, columns=["query_id", "response"]).astype("str")


def write_forms(
    prompts: pd.DataFrame, task: RecTask, attribute_graph: pd.DataFrame, constrained: bool
) -> dict[str, str]:
    """The form that the answer to each prompt keeps to, by query; none where all write freely."""
    if not constrained:
        return {}
    linker = Linker(task.catalogue, Facts.of_table(attribute_graph, task.catalogue))
    writer = FormWriter(linker, task.wording)
    texts = tqdm(prompts["text"], desc="Writing forms", unit="query")
    examples = examples_from_table(prompts, task.catalogue)
    asked = zip(texts, examples, strict=True)
    return {e.query_id: writer.form(linker.link(text), e.candidates) for text, e in asked}


def in_form(examples: Sequence[Example], forms: Mapping[str, str]) -> list[Example]:
    """Queries whose answers keep to forms, where there are some."""
    return [replace(example, form=forms.get(example.query_id)) for example in examples]


def start_cold(
    backbone_record: dict[str, Any],
    training_prompts: pd.DataFrame,
    cold_start_traces: pd.DataFrame,
    task: RecTask,
    backbone: BackboneParameters,
    generation: GenerationParameters,
    cold_start: ColdStartParameters,
    launch: LaunchParameters,
) -> dict[str, Any]:
    """Says which model reinforcement begins from: the backbone, or what the traces made of it.

    A cold-started policy is made once, in a folder named by all that it follows from, and found
    there by every variant and seed. Its record has what it cost.
    """
    if not cold_start.enabled:
        return {**backbone_record, "cold_start": None}
    plan = cold_start.plan(backbone, generation)
    name = backbone_record.get("sha256", backbone_record["name_or_path"])
    # 1: one process, as in the names of those that were made before there were jobs.
    made_by = fingerprint(cold_start, plan, name, training_prompts, cold_start_traces, 1)
    folder = Path(cold_start.checkpoint_dir) / made_by[:16]
    if not is_made(folder, made_by):
        examples = examples_from_table(training_prompts, task.catalogue)
        lessons = traced_lessons(examples, cold_start_traces, "rft.cold_start.traces")
        work = SupervisedTraining(backbone_record["name_or_path"], cold_start.seed, lessons, plan)
        checkpoints = Path(cold_start.checkpoint_dir) / f".{made_by[:16]}_checkpoints"
        tuned = train(work, launch, checkpoints, [MlflowStepLogger("cold_start")])
        kept = {"made_by": made_by, "splits": {}, **_splits_of(backbone_record)}
        told = {
            "cold_start.json": {**tuned.summary, "traces": len(lessons)},
            "cold_start_log.json": tuned.log.to_dict("list"),
            MADE_BY: kept,
        }
        extra = {file: json.dumps(content, indent=1) for file, content in told.items()}
        save_backbone(merged(tuned.policy), folder, extra)
        free_memory()
    summary = json.loads((folder / "cold_start.json").read_text(encoding="utf-8"))
    return {**named_model(str(folder)), "made_by": made_by, "cold_start": summary}


def _splits_of(backbone_record: dict[str, Any]) -> dict[str, Any]:
    """Which splits the backbone was made for, if it is one of ours."""
    record = Path(backbone_record["name_or_path"]) / MADE_BY
    if not record.is_file():
        return {}
    return {"splits": json.loads(record.read_text(encoding="utf-8"))["splits"]}


def traced_lessons(
    examples: Sequence[Example], reasoning_traces: pd.DataFrame, given: str = "rft.sft.traces"
) -> list[tuple[Example, str]]:
    """What is to be imitated, with the example that it answers.

    Raises:
        BadParameterError: If there is nothing to imitate.
    """
    by_id = {example.query_id: example for example in examples}
    rows = zip(reasoning_traces["query_id"], reasoning_traces["response"], strict=True)
    lessons = [(by_id[query], response) for query, response in rows]
    if not lessons:
        raise BadParameterError(f"there is no trace of a training query: see {given}")
    return lessons
