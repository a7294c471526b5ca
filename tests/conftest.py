"""Small worlds, tables and models that several tests share."""

from __future__ import annotations

import ibis
import pandas as pd
import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from rerec_pipeline.configs import WorldSize
from rerec_pipeline.parameters import (
    AttributeParameters,
    DataParameters,
    FixedParameters,
    HistoryParameters,
    InteractionParameters,
    RetrievalParameters,
)
from rerec_pipeline.pipelines.data_engineering import nodes as de
from rerec_pipeline.pipelines.data_engineering import prompts as dp

# How long an example takes says nothing of it where other processes share the cores.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    torch.set_num_threads(2)


def small_world(**changes) -> WorldSize:
    """A film world that is made in a fraction of a second."""
    size = {
        "items": 60,
        "people": {"Directed_by": 12, "Starring": 20},
        "users": 40,
        "tastes": 4,
        "interactions_per_user": 15,
        "queries": {
            "explicit": 40, "implicit": 30, "misinformed": 30, "interest": 30, "demographics": 30,
        },
        "seed": 3,
    }  # fmt: skip
    return WorldSize(**{**size, **changes})


def data_parameters(**changes) -> DataParameters:
    """Parameters of a small fabricated data set."""
    values = {
        "source": "fabricated",
        "domain": "movie",
        "world": small_world(),
        "split": {"train": 0.5, "validation": 0.2, "test": 0.3, "seed": 0},
        "candidates": {"source": "drawn", "size": 20, "hard": 4, "traps": 2, "seed": 0},
        "history": False,
        "prompt": {
            "system": "Recommend one.",
            "user": "{candidates}\n\n{history}{query}",
            "history": "I have seen {titles}. ",
            "separator": "\n",
            "evidence": 0,
            "evidence_words": 300,
            "order": "drawn",
            "known": "\nKnown: {facts}.",
        },
    }
    return DataParameters(**{**values, **changes})


def attribute_parameters(*sources: str, **changes) -> AttributeParameters:
    """What the attribute graph is made from."""
    values = {"sources": list(sources), "kinds": {"book": "Belongs_to"}, "relations": {}}
    return AttributeParameters(**{**values, **changes})


DRAWN = FixedParameters(splits=None, candidates=None)
HELD_OUT = InteractionParameters(validation_share=0.1, seed=0)
RETRIEVAL = RetrievalParameters.model_validate(
    {
        "pool": 40, "neighbours": 10,
        "ranker": {
            "queries": 100, "pool_negatives": 20, "lists": 2, "list_size": 20, "rounds": 60,
            "patience": 20, "learning_rate": 0.1, "leaves": 8, "min_rows": 10, "seed": 0,
        },
    }
)  # fmt: skip


def engineer(
    data: DataParameters,
    raw_dir: str,
    fixed: FixedParameters = DRAWN,
    every: AttributeParameters | None = None,
) -> dict[str, pd.DataFrame]:
    """All tables of a data set, by the nodes of the data engineering pipeline."""
    tables = {"manifest": de.prepare_raw_files(data.source, data.domain, data.world, raw_dir)}
    every = every or attribute_parameters("items", "edge_list", "gexf", "training_queries")
    tables["items"], kinds = de.ingest_items(tables["manifest"], data.domain, every)
    tables["users"] = de.ingest_users(tables["manifest"])
    raw = ibis.duckdb.connect().create_table(
        "raw", de.read_interactions(tables["manifest"]).read_all()
    )
    tables["interactions"] = de.ingest_interactions(raw, tables["items"], tables["manifest"])
    tables["attributes"], _ = de.ingest_attributes(
        tables["manifest"], tables["items"], kinds, every
    )
    tables["queries"], tables["exclusions"] = de.ingest_queries(
        tables["manifest"], tables["items"], data.source, every
    )
    queries, items = tables["queries"], tables["items"]
    tables["mentions"] = dp.find_mentions(queries, items)
    tables["splits"] = dp.assign_splits(queries, tables["mentions"], items, data.split, fixed)
    tables["stated_facts"], _ = de.state_facts(queries, tables["splits"], items, every)
    tables["attribute_graph"] = de.build_attribute_graph(
        tables["attributes"], tables["stated_facts"]
    )
    tables["histories"] = dp.collect_histories(
        queries, tables["interactions"], data.history, HistoryParameters(length=10)
    )
    tables["interaction_graph"] = de.build_interaction_graph(
        tables["interactions"], queries, tables["splits"], HELD_OUT
    )
    tables["item_popularity"] = de.count_popularity(tables["interaction_graph"], items)
    tables["group_popularity"] = de.count_by_groups(tables["interaction_graph"], tables["users"])
    graph = tables["attribute_graph"]
    counts = (tables["item_popularity"], tables["group_popularity"])
    tables["candidate_pools"] = dp.find_pools(
        queries, tables["splits"], items, graph, *counts, data.candidates, RETRIEVAL
    )
    known = [tables[name] for name in ("splits", "mentions", "histories")]
    tables["candidates"] = dp.draw_candidates(
        queries, *known, items, graph, tables["candidate_pools"], data.candidates, fixed
    )
    tables["prompts"] = dp.build_prompts(queries, *known, tables["candidates"], items, graph, data)
    return tables


@pytest.fixture(scope="session")
def world_tables(tmp_path_factory):
    """(parameters, tables) of the small film world."""
    data = data_parameters()
    return data, engineer(data, str(tmp_path_factory.mktemp("raw")))


def train_byte_level_bpe(texts, size=400) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer with Qwen2's class, trained on the given texts."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    )
    raw.train_from_iterator(texts, trainer)
    import json

    model = json.loads(raw.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(m) for m in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHAT
    return tokenizer


@pytest.fixture(scope="session")
def bpe_tokenizer(world_tables) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer that has seen the small world."""
    prompts = world_tables[1]["prompts"]
    return train_byte_level_bpe([*prompts["user"], *prompts["truth"], "Wanted: \\boxed{}"])


@pytest.fixture(scope="session")
def tiny_backbone(bpe_tokenizer, tmp_path_factory) -> str:
    """A folder with a random Qwen2 model and its byte-level BPE tokenizer."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(bpe_tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            initializer_range=0.1,
            pad_token_id=bpe_tokenizer.pad_token_id,
            eos_token_id=bpe_tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    folder = tmp_path_factory.mktemp("backbone")
    model.save_pretrained(folder)
    bpe_tokenizer.save_pretrained(folder)
    return str(folder)
