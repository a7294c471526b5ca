"""Nodes of the RFT pipeline that provide the backbone, which may be made from scratch."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.traces import TraceWriter
from rerec_pipeline.grounding.wording import evidence_gatherer, short_title
from rerec_pipeline.parameters import BackboneParameters, ScratchParameters
from rerec_pipeline.recbench.heldout import split_fingerprint
from rerec_pipeline.recbench.needs import NeedReader
from rerec_pipeline.recbench.relations import is_kind, plain_name
from rerec_pipeline.recbench.tables import (
    examples_from_table,
    graph_from_table,
    queries_from_table,
)
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.recbench.warmup import WarmupWriter, held_out_facts
from rerec_pipeline.storage.checkpoints import fingerprint
from rerec_pipeline.storage.records import hash_of
from rerec_pipeline.training.scratch import RECIPE, is_made, make_from_scratch

logger = logging.getLogger(__name__)


def prepare_backbone(
    task: RecTask,
    queries: pd.DataFrame,
    prompts: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    backbone: BackboneParameters,
    dataset: str,
) -> dict[str, Any]:
    """Says which model is fine-tuned; makes a model from scratch unless its folder has it.

    Returns:
        The backbone's record: ``name_or_path``, ``sha256`` of a model on this machine, and
        ``made_by``, the fingerprint that a model from scratch was made with.
    """
    if backbone.scratch is None:
        return named_model(backbone.name_or_path)
    folder = Path(backbone.name_or_path)
    tables = (queries, prompts, attribute_graph)
    made_by = fingerprint(RECIPE, backbone.scratch, *tables)
    if not is_made(folder, made_by):
        record = {"made_by": made_by, "splits": {dataset: split_fingerprint(prompts)}}
        writer = warmup_writer(*tables, task, backbone.scratch)
        texts = warmup_texts(prompts, task)
        phrases = warmup_phrases(attribute_graph, task, backbone.scratch.phrases)
        made = make_from_scratch(writer, texts, phrases, folder, backbone.scratch, record)
        logger.info("Made a model of %d parameters in %s", made.model.num_parameters(), folder)
    return {**named_model(backbone.name_or_path), "made_by": made_by}


def named_model(name_or_path: str) -> dict[str, Any]:
    """The record of a model: its name or path and, if it is on this machine, its hash."""
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
    """Texts for the tokenizer of a model from scratch: training prompts and all titles."""
    return [*prompts.query("split == 'train'")["user"], *task.catalogue.titles]


def warmup_phrases(attribute_graph: pd.DataFrame, task: RecTask, most: int) -> list[str]:
    """The phrases that a model from scratch reads as one token each.

    Args:
        attribute_graph: Facts of items.
        task: Knows the titles.
        most: Largest number of phrases.

    Returns:
        Distinct phrases: whole titles, then short ones, then names of the graph, those that most
        items have first.
    """
    facts = zip(attribute_graph["relation"], attribute_graph["value"], strict=True)
    holders = Counter(plain_name(value) for relation, value in facts if not is_kind(relation))
    names = [name for name, _ in holders.most_common()]
    titles = task.catalogue.titles
    return list(dict.fromkeys([*titles, *map(short_title, titles), *names]))[:most]
