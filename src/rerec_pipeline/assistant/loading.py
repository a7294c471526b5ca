"""An assistant from files: tables, embeddings, the ranker, and a folder with a policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from safetensors.numpy import load_file

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.configs import Config
from rerec_pipeline.grounding.ranking import TreeRanker
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.grounding.tables import retriever_from_tables
from rerec_pipeline.models.quick_start import import_transformers, quick_start
from rerec_pipeline.recbench.task import PromptWording, RecTask

TABLES = (
    "items", "attribute_graph", "item_popularity", "group_popularity", "queries", "splits",
)  # fmt: skip
#: Names, as the catalog has them, of the files that every assistant needs.
NEEDED = (*TABLES, "lightgcn_embeddings", "ranker")


class Settings(Config):
    """What an assistant is told beside its files.

    Attributes:
        name: What its policy is called in answers.
        wording: The texts of the prompt.
        pool: Items that the first stage of retrieval keeps.
        neighbours: Answered training requests that are asked for a similar one.
        max_new_tokens: Most tokens of a reasoning.
        constrained: Whether the policy keeps to the form of a trace.
    """

    name: str
    wording: PromptWording
    pool: int
    neighbours: int
    max_new_tokens: int
    constrained: bool = False


def load_retriever(files: Mapping[str, Path], pool: int, neighbours: int) -> Retriever:
    """Loads catalogue, both graphs and the ranker.

    Args:
        files: A file of each of ``NEEDED``.
        pool: See ``Settings``.
        neighbours: See ``Settings``.

    Raises:
        ValueError: If the ranker was fitted on other features than it is given now.
    """
    retriever = retriever_from_tables(
        **{name: pd.read_parquet(files[name]) for name in TABLES},
        embeddings=load_file(files["lightgcn_embeddings"])["items"],
        pool=pool,
        neighbours=neighbours,
    )
    return retriever.ordered_by(TreeRanker(Path(files["ranker"]).read_text(encoding="utf-8")))


def load_assistant(files: Mapping[str, Path], settings: Settings) -> Assistant:
    """Loads an assistant whose policy is the folder ``policy`` of its files, with nothing else.

    Raises:
        ValueError: See ``load_retriever``.
    """
    with quick_start():
        retriever = load_retriever(files, settings.pool, settings.neighbours)
        import_transformers()
        from rerec_pipeline.models.backbone import load_backbone
        from rerec_pipeline.models.reasoner import PolicyReasoner

        policy = load_backbone(str(files["policy"]))
        reasoner = PolicyReasoner(policy, settings.name, settings.max_new_tokens)
    task = RecTask(retriever.linker.catalogue, settings.wording)
    return Assistant(task, retriever, reasoner, constrained=settings.constrained)
