"""A byte-level tokenizer with phrases as tokens: one token for a title, one for a name.

It is the tokenizer of the sample's tiny backbone and a deliberate simplification: copying a
title costs one token, so that a model of a third of a million parameters can spend its capacity
on reasoning. Underneath it is Qwen2's byte-level BPE without merges, so that ``AutoTokenizer``
loads it like that of any Qwen2 model and no text is unreadable, only unfamiliar.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken
from transformers import Qwen2Tokenizer

from rerec_pipeline.models.chat import ASSISTANT, CHAT_TEMPLATE, EOS, PAD, RESPONSE_TEMPLATE, USER
from rerec_pipeline.models.token_bytes import BYTE_ALPHABET

# A word takes the space after it along; the first word after a phrase also the one before it.
_PIECE = re.compile(r"\A ?[\w'-]+ ?|[\w'-]+ ?|\n|[^\w\s] ?|\s")


def build_phrase_tokenizer(phrases: Iterable[str], texts: Iterable[str]) -> Qwen2Tokenizer:
    """Builds the tokenizer.

    Args:
        phrases: Texts that become one token each (titles, names, stock phrases).
        texts: Samples of everything else that must be readable; their words become tokens.

    Returns:
        A tokenizer with a chat template; where several tokens fit, the longest one is taken.

    Raises:
        ValueError: If a token would not decode to itself.
    """
    phrases = sorted(set(phrases), key=lambda p: (-len(p), p))
    splitter = re.compile("|".join(re.escape(phrase) for phrase in phrases))
    pieces: dict[str, None] = dict.fromkeys(phrases)
    for text in texts:
        for rest in splitter.split(text):
            pieces.update(dict.fromkeys(_PIECE.findall(rest)))
    tokenizer = chat_tokenizer(dict(BYTE_ALPHABET), [])
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in sorted(pieces)])
    _check_round_trip(tokenizer, pieces)
    return tokenizer


def chat_tokenizer(vocabulary: dict[str, int], merges: list[Any]) -> Qwen2Tokenizer:
    """A byte-level tokenizer of Qwen2's kind with the chat format of ``models/chat.py``."""
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token=None,  # type: ignore[arg-type]  # every byte is in the vocabulary
        bos_token=None,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.response_template = RESPONSE_TEMPLATE
    return tokenizer


def _check_round_trip(tokenizer: Qwen2Tokenizer, pieces: Iterable[str]) -> None:
    """A piece made only of byte-level letters beyond ASCII would decode to other bytes."""
    for piece in pieces:
        ids = tokenizer(piece)["input_ids"]
        if tokenizer.decode(ids) != piece:
            raise ValueError(f"the token {piece!r} decodes to {tokenizer.decode(ids)!r}")
