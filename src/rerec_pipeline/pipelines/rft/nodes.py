"""Nodes of the RFT pipeline: task, reward and prompts, and the fine-tuning they steer."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from rerec_pipeline.configs import Habits
from rerec_pipeline.errors import BadInputError, BadParameterError
from rerec_pipeline.grounding.facts import Facts, plain_name
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.traces import TraceWriter
from rerec_pipeline.grounding.wording import evidence_gatherer
from rerec_pipeline.models.backbone import (
    Backbone,
    check_pretraining,
    length_report,
    load_tokenizer,
    merged,
    prompt_ids,
    save_backbone,
    too_long,
)
from rerec_pipeline.models.devices import free_memory
from rerec_pipeline.parameters import (
    BackboneParameters,
    ColdStartParameters,
    DataParameters,
    GenerationParameters,
    LaunchParameters,
    RewardParameters,
    RFTParameters,
    ScratchParameters,
)
from rerec_pipeline.parameters.backbone import MADE_BY
from rerec_pipeline.recbench.heldout import held_out_pairs, split_fingerprint
from rerec_pipeline.recbench.needs import NeedReader
from rerec_pipeline.recbench.reading import decode, read_json_lines
from rerec_pipeline.recbench.recorded import recorded_traces
from rerec_pipeline.recbench.relations import is_kind
from rerec_pipeline.recbench.splits import SPLITS
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    examples_from_table,
    graph_from_table,
    item_values,
    lists_right_item,
    queries_from_table,
)
from rerec_pipeline.recbench.task import Example, RecTask
from rerec_pipeline.recbench.warmup import WarmupWriter, held_out_facts
from rerec_pipeline.rerec.reward import Reward, RewardContext, unit_rows
from rerec_pipeline.storage.checkpoints import fingerprint
from rerec_pipeline.storage.records import hash_of
from rerec_pipeline.tracking import MlflowStepLogger
from rerec_pipeline.training.fine_tuning import boxed_answer
from rerec_pipeline.training.jobs import RolloutTraining, SupervisedTraining, Training
from rerec_pipeline.training.launching import train
from rerec_pipeline.training.scratch import is_made, make_from_scratch

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


def prepare_backbone(
    task: RecTask,
    queries: pd.DataFrame,
    prompts: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    backbone: BackboneParameters,
    dataset: str,
) -> dict[str, Any]:
    """Says which model is fine-tuned; one from scratch is made first, or found as made before."""
    if backbone.scratch is None:
        return _named(backbone.name_or_path)
    folder = Path(backbone.name_or_path)
    tables = (queries, prompts, attribute_graph)
    made_by = fingerprint(backbone.scratch, *tables)
    if not is_made(folder, made_by):
        record = {"made_by": made_by, "splits": {dataset: split_fingerprint(prompts)}}
        writer = warmup_writer(*tables, task, backbone.scratch)
        texts = warmup_texts(prompts, task)
        phrases = warmup_phrases(attribute_graph, task, backbone.scratch.phrases)
        made = make_from_scratch(writer, texts, phrases, folder, backbone.scratch, record)
        logger.info("Made a model of %d parameters in %s", made.model.num_parameters(), folder)
    return {**_named(backbone.name_or_path), "made_by": made_by}


def _named(name_or_path: str) -> dict[str, Any]:
    """A model and, of one on this machine, the hash of its content."""
    path = Path(name_or_path)
    return {"name_or_path": name_or_path, **({"sha256": hash_of(path)} if path.exists() else {})}


def warmup_writer(
    queries: pd.DataFrame,
    prompts: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    task: RecTask,
    scratch: ScratchParameters,
) -> WarmupWriter:
    """Builds the writer of the documents that a model from scratch is pretrained on."""
    catalogue = task.catalogue
    reader = NeedReader(catalogue, graph_from_table(attribute_graph, catalogue))
    linker = Linker(catalogue, Facts.of_table(attribute_graph, catalogue))
    gather = evidence_gatherer(linker, task.wording)
    of_query = {query.query_id: query for query in queries_from_table(queries)}
    heldout = held_out_facts(
        [of_query[query_id] for query_id in prompts["query_id"]],
        examples_from_table(prompts, catalogue),
        prompts["split"].tolist(),
        reader,
    )
    return WarmupWriter(
        catalogue,
        reader.graph,
        heldout,
        lambda text, listed: task.messages(text, listed, (), gather(text, listed))[1]["content"],
        TraceWriter(linker, task.wording, ranked=False, seed=scratch.seed).write,
        scratch.seed,
    )


def warmup_texts(prompts: pd.DataFrame, task: RecTask) -> list[str]:
    """What the tokenizer of a model from scratch is trained on: training prompts, and titles."""
    return [*prompts.query("split == 'train'")["user"], *task.catalogue.titles]


def warmup_phrases(attribute_graph: pd.DataFrame, task: RecTask, most: int) -> list[str]:
    """What is one token each to a model from scratch: titles, then names of the graph.

    Args:
        attribute_graph: Facts of items.
        task: Knows the titles.
        most: How many at most; names that many items have come first.
    """
    facts = zip(attribute_graph["relation"], attribute_graph["value"], strict=True)
    holders = Counter(plain_name(value) for relation, value in facts if not is_kind(relation))
    names = [name for name, _ in holders.most_common()]
    return list(dict.fromkeys([*task.catalogue.titles, *names]))[:most]


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


def fine_tune(
    start_record: dict[str, Any],
    training_prompts: pd.DataFrame,
    task: RecTask,
    reward: Reward,
    reasoning_traces: pd.DataFrame,
    rft: RFTParameters,
    seed: int,
    launch: LaunchParameters,
) -> tuple[Backbone, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Fine-tunes what there is to start from; gives the policy and the record of its training.

    An interrupted run resumes from its last checkpoint if nothing it depends on has changed.
    """
    examples = examples_from_table(training_prompts, task.catalogue)
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
    return {**_named(str(folder)), "made_by": made_by, "cold_start": summary}


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
