"""A policy from scratch: a byte-level BPE tokenizer and a small model, made for one data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from rerec_pipeline.models.backbone import Backbone, save_backbone
from rerec_pipeline.models.chat import ASSISTANT, EOS, PAD, USER
from rerec_pipeline.models.phrase_tokenizer import chat_tokenizer
from rerec_pipeline.parameters import ScratchParameters
from rerec_pipeline.parameters.backbone import MADE_BY
from rerec_pipeline.recbench.documents import DOES_NOT_FIT, FITS
from rerec_pipeline.recbench.warmup import WarmupWriter
from rerec_pipeline.storage.records import problem_of
from rerec_pipeline.training.pretraining import DocumentEncoder, pretrain, write_batches

#: Raised whenever the same parameters and tables would make another model: by what is written for
#: it to read, or by how it is trained. One that an older recipe made is then made again.
RECIPE = 2


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, phrases: Sequence[str] = ()
) -> Qwen2Tokenizer:
    """Trains a byte-level BPE tokenizer of Qwen2's kind; no text is unreadable to it.

    Args:
        texts: What it learns its merges from.
        vocabulary: Entries at most, special tokens included.
        phrases: Texts that are one token each, beside the vocabulary. Copying one takes one token,
            which a small model learns long before it learns to spell. Some with letters beyond
            ASCII would not decode to themselves; they stay spelled.
    """
    special = [PAD, EOS, USER, ASSISTANT]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    learned = json.loads(raw.to_str())["model"]
    merges: list[Any] = [tuple(merge) for merge in learned["merges"]]
    everything = _with_phrases(chat_tokenizer(learned["vocab"], merges), phrases)
    read_back = [p for p in phrases if everything.decode(everything(p)["input_ids"]) == p]
    return _with_phrases(chat_tokenizer(learned["vocab"], merges), read_back)


def _with_phrases(tokenizer: Qwen2Tokenizer, phrases: Sequence[str]) -> Qwen2Tokenizer:
    # As words of their own alone: "Ma", a film's title, is no part of "Max".
    tokenizer.add_tokens([AddedToken(p, normalized=False, single_word=True) for p in phrases])
    return tokenizer


def first_phrase(tokenizer: Qwen2Tokenizer) -> int | None:
    """Id of the first token that is a phrase, after the vocabulary; None where there is none."""
    added = tokenizer.added_tokens_decoder.items()
    return min((number for number, token in added if not token.special), default=None)


def make_from_scratch(
    writer: WarmupWriter,
    texts: Sequence[str],
    phrases: Sequence[str],
    folder: Path,
    parameters: ScratchParameters,
    record: dict[str, Any],
) -> Backbone:
    """Makes tokenizer and model and saves them, unless the folder holds these very ones.

    Args:
        writer: Writes what the model reads.
        texts: What the tokenizer is trained on.
        phrases: What is one token each.
        folder: Where the model goes; checkpoints of an unfinished one lie beside it.
        parameters: How it is made.
        record: What is kept with it, e.g. the fingerprint of the splits that it was made for.

    Returns:
        The model, in evaluation mode, with its tokenizer.
    """
    tokenizer = train_tokenizer(texts, parameters.vocabulary, phrases)
    # A verdict follows a space: its first token is another than at the start of a text.
    encoder = DocumentEncoder(tokenizer, [f" {verdict}" for verdict in (FITS, DOES_NOT_FIT)])
    batches = list(
        write_batches(
            [writer],
            [1.0],
            encoder,
            parameters.stages,
            parameters.tokens_per_batch,
            parameters.seed,
        )
    )
    checkpoints = folder.with_name(f".{folder.name}_checkpoints") / str(record["made_by"])
    first = first_phrase(tokenizer)
    fixed = None if first is None else (first, parameters.phrase_std)
    backbone = pretrain(batches, tokenizer, parameters, checkpoints, fixed)
    save_backbone(backbone, folder, {MADE_BY: json.dumps(record, indent=1)})
    return backbone


def is_made(folder: Path, made_by: str) -> bool:
    """Whether a folder holds the model of a recipe, whole and unchanged."""
    record = folder / MADE_BY
    if problem_of(folder) or not record.is_file():
        return False
    return bool(json.loads(record.read_text(encoding="utf-8"))["made_by"] == made_by)
