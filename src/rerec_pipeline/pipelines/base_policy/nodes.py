"""Nodes of the base policy pipeline: what the sample's tiny backbone reads, and its making."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import Qwen2Tokenizer

from rerec_pipeline.configs import DOCUMENT_KINDS
from rerec_pipeline.models.backbone import Backbone
from rerec_pipeline.models.phrase_tokenizer import build_phrase_tokenizer
from rerec_pipeline.parameters import BasePolicyParameters, DataParameters, RFTParameters
from rerec_pipeline.parameters.backbone import MADE_BY
from rerec_pipeline.recbench.documents import DOES_NOT_FIT, FITS
from rerec_pipeline.recbench.heldout import held_out_pairs, split_fingerprint
from rerec_pipeline.recbench.tables import catalogue_from_table, examples_from_table
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.sample.corpus import CorpusWriter
from rerec_pipeline.sample.reasoner import phrases_of
from rerec_pipeline.sample.world import DOMAINS, World, fabricate_world
from rerec_pipeline.storage.checkpoints import fingerprint
from rerec_pipeline.training import evaluate
from rerec_pipeline.training.pretraining import Batch, DocumentEncoder, pretrain, write_batches

HeldOut = dict[str, set[tuple[Hashable, int]]]

#: Documents of each kind from which the tokenizer learns the words that occur.
_WORD_SAMPLES = 1500

#: Parameters that say where files lie, not what is made.
_PLACES = {"checkpoint_dir", "raw_dir"}


def hold_out(
    base_policy: BasePolicyParameters, *tables: pd.DataFrame
) -> tuple[HeldOut, dict[str, str]]:
    """Collects the pairs no document may tell: those that the held-out splits ask for.

    Args:
        base_policy: Names the worlds, in order.
        tables: prompts, queries and items of each world, in that order.

    Returns:
        World -> held-out pairs, and world -> fingerprint of its splits.
    """
    pairs, fingerprints = {}, {}
    for n, world in enumerate(base_policy.worlds):
        prompts, queries, items = tables[3 * n : 3 * n + 3]
        pairs[world] = held_out_pairs(prompts, queries, items, base_policy.hold_out)
        fingerprints[world] = split_fingerprint(prompts)
    return pairs, fingerprints


def build_tokenizer(base_policy: BasePolicyParameters) -> Qwen2Tokenizer:
    """One token for each title and name of all worlds, and for each word users say."""
    phrases: list[str] = []
    texts: list[str] = []
    for writer in _writers(base_policy, {}):
        phrases += phrases_of(writer.world)
        for kind in DOCUMENT_KINDS:
            for _ in range(_WORD_SAMPLES):
                for turn in writer.write(kind, list_size=4).turns:
                    texts += turn
    return build_phrase_tokenizer(phrases, texts)


def write_corpus(
    base_policy: BasePolicyParameters, heldout: HeldOut, tokenizer: Qwen2Tokenizer
) -> list[Batch]:
    """Writes everything that the base policy reads, in order."""
    return list(
        write_batches(
            _writers(base_policy, heldout),
            list(base_policy.worlds.values()),
            DocumentEncoder(tokenizer, (FITS, DOES_NOT_FIT)),
            base_policy.stages,
            base_policy.tokens_per_batch,
            base_policy.seed,
        )
    )


def pretrain_base_policy(
    corpus: list[Batch], tokenizer: Qwen2Tokenizer, base_policy: BasePolicyParameters
) -> Backbone:
    """Pretrains the tiny policy."""
    folder = Path(base_policy.checkpoint_dir) / fingerprint(base_policy)[:16]
    return pretrain(corpus, tokenizer, base_policy, folder)


def record_base_policy(
    base_policy_model: Backbone,
    fingerprints: dict[str, str],
    base_policy: BasePolicyParameters,
    rft: RFTParameters,
    *tables: pd.DataFrame,
) -> tuple[dict[str, Any], str]:
    """Says what made the policy and how well it does on validation; also as a model card."""
    settings = base_policy.model_dump(mode="json", exclude=_PLACES)
    accuracy = {}
    for world, prompts, items in zip(base_policy.worlds, tables[0::2], tables[1::2], strict=True):
        task = RecTask(catalogue_from_table(items), base_policy.data[world].prompt)
        accuracy[world] = _validation_accuracy(base_policy_model, prompts, task, rft)
    record = {
        "made_by": fingerprint(settings),
        "splits": fingerprints,
        "validation_accuracy": accuracy,
        "parameters": int(sum(p.numel() for p in base_policy_model.model.parameters())),
        "settings": settings,
    }
    return record, _card(record)


def _validation_accuracy(
    policy: Backbone, prompts: pd.DataFrame, task: RecTask, rft: RFTParameters
) -> float:
    chosen = prompts[prompts["split"] == "validation"].reset_index(drop=True)
    examples = examples_from_table(chosen, task.catalogue)
    limits = {"max_new_tokens": rft.generation.max_completion_tokens, "batch_size": 256}
    graded = evaluate(policy, examples, task, **limits, label="Validating")
    return float(graded.correct.mean())


def _writers(base_policy: BasePolicyParameters, heldout: HeldOut) -> list[CorpusWriter]:
    return [
        CorpusWriter(
            world=world,
            prompt=_prompt_of(data, world),
            heldout=heldout.get(name, set()),
            habits=base_policy.habits,
            seed=base_policy.seed + n,
        )
        for n, (name, data) in enumerate(base_policy.data.items())
        for world in [_world(data)]
    ]


def _world(data: DataParameters) -> World:
    assert data.world is not None  # checked with the parameters: a base policy needs worlds
    return fabricate_world(DOMAINS[data.domain], data.world)


def _prompt_of(data: DataParameters, world: World) -> Callable[[str, Sequence[str]], str]:
    """The user's message as the task words it."""
    titles = [item.title for item in world.items]
    task = RecTask(ItemIndex(list(np.arange(len(titles))), titles), data.prompt)
    index = {title: n for n, title in enumerate(titles)}

    def prompt(query: str, candidates: Sequence[str]) -> str:
        return task.messages(query, [index[title] for title in candidates], ())[1]["content"]

    return prompt


def _card(record: dict[str, Any]) -> str:
    accuracy = "\n".join(f"| {w} | {a:.3f} |" for w, a in record["validation_accuracy"].items())
    return f"""---
library_name: transformers
pipeline_tag: text-generation
---

# Tiny base policy of the built-in samples

A Qwen2-architecture language model of {record["parameters"]:,} parameters that knows the two
fabricated worlds of this project (`sample_movie`, `sample_book`) and decides badly: it states
true facts about items and often recommends something else. It exists so that reinforcement
fine-tuning can be watched on a laptop. It knows nothing of the real world and reads no other
text than requests of these two worlds.

Made from random weights by `kedro run --pipelines base_policy`; every setting and the hash of
them all is in `{MADE_BY}`. No document it read tells a (need, item) pair that a query of
these splits asks for: {", ".join(sorted(record["settings"]["hold_out"]))}.

Tokens are whole phrases: a title or a name is one token, so copying is easy. That is a
simplification; real backbones spell titles out.

Accuracy on the validation split, greedy, among 20 candidates (chance 0.05):

| data set | accuracy |
|---|---|
{accuracy}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("data/06_models/base_policy")
tokenizer = AutoTokenizer.from_pretrained("data/06_models/base_policy")
```
"""
