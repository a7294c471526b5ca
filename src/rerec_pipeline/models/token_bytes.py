"""The bytes behind every token, for any tokenizer: the ground on which spans are exact.

Decoding token by token shifts on multi-byte text, and encoding the text again may give other
tokens. A table from token id to bytes, made once, is exact and fast.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from rerec_pipeline.errors import ReRecError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class CompletionBytes:
    """Completions as bytes, one after the other, and how many of them each token made.

    Attributes:
        data: UTF-8 bytes of all B completions; special tokens contribute nothing.
        lengths: Bytes of each of their T tokens, int64 (T,).
        leading_breaks: Line breaks a token begins with, 0 if it is nothing else, int64 (T,).
        n_bytes: Bytes of each completion, int64 (B,).
        n_tokens: Tokens of each completion, int64 (B,).
    """

    data: bytes
    lengths: NDArray[np.int64]
    leading_breaks: NDArray[np.int64]
    n_bytes: NDArray[np.int64]
    n_tokens: NDArray[np.int64]

    @property
    def text(self) -> str:
        """All completions as one text."""
        return self.data.decode("utf-8", errors="replace")

    @cached_property
    def texts(self) -> list[str]:
        """Each completion as text."""
        ends = np.cumsum(self.n_bytes)
        return [
            self.data[start:end].decode("utf-8", errors="replace")
            for start, end in zip((ends - self.n_bytes).tolist(), ends.tolist(), strict=True)
        ]


class TokenBytes:
    """Table of the bytes of a tokenizer's tokens.

    Handles byte-level BPE (GPT-2, Qwen, Llama 3), SentencePiece-style vocabularies with ``▁`` and
    byte fallback (Llama 2, Mistral), and vocabularies of plain pieces.

    Args:
        tokenizer: A fast Hugging Face tokenizer.

    Raises:
        ReRecError: If the tokenizer's way of writing tokens is not understood.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        kind = _decoder_kind(tokenizer)
        size = len(tokenizer)
        special = set(tokenizer.all_special_ids)
        added = tokenizer.added_tokens_decoder
        pieces = tokenizer.convert_ids_to_tokens(list(range(size)))
        self.table: list[bytes] = []
        for token_id, piece in enumerate(pieces):
            if token_id in special or piece is None:
                self.table.append(b"")
            elif token_id in added:
                self.table.append(b"" if added[token_id].special else piece.encode())
            else:
                self.table.append(_piece_bytes(piece, kind))
        # Models have more rows of embeddings than their tokenizer has tokens (Qwen2.5: 151,936 and
        # 151,665). Sampling can reach those; like the tokenizer, we read nothing there.
        self.table.append(b"")
        self._pieces = pa.array(self.table, type=pa.large_binary())
        self.lengths = np.array([len(b) for b in self.table], dtype=np.int64)
        self.leading_breaks = np.array([_leading_breaks(b) for b in self.table], dtype=np.int64)

    def read(self, token_ids: Sequence[int]) -> CompletionBytes:
        """The bytes of one completion.

        Args:
            token_ids: Ids as the policy produced them, special tokens included.
        """
        return self.read_batch([token_ids])

    def read_batch(self, token_ids: Sequence[Sequence[int]]) -> CompletionBytes:
        """The bytes of several completions.

        Args:
            token_ids: Ids of B completions, as the policy produced them.
        """
        n_tokens = np.array([len(ids) for ids in token_ids], dtype=np.int64)
        # struct packs a list of Python integers faster than NumPy reads it.
        packed = [struct.pack(f"{len(ids)}q", *ids) for ids in token_ids]
        ids = np.minimum(np.frombuffer(b"".join(packed), dtype=np.int64), len(self.table) - 1)
        # Arrow puts the pieces together in one go: offsets, and the bytes behind one another.
        pieces = self._pieces.take(pa.array(ids))
        _, offsets, data = pieces.buffers()
        ends = np.frombuffer(offsets, dtype=np.int64, count=len(ids) + 1)[np.cumsum(n_tokens)]
        return CompletionBytes(
            data=data.to_pybytes() if data else b"",
            lengths=self.lengths[ids],
            leading_breaks=self.leading_breaks[ids],
            n_bytes=np.diff(ends, prepend=0),
            n_tokens=n_tokens,
        )


def _leading_breaks(data: bytes) -> int:
    stripped = data.lstrip(b"\n")
    return len(data) - len(stripped) if stripped else 0


def _decoder_kind(tokenizer: PreTrainedTokenizerBase) -> str:
    """Which of the three ways of writing tokens a tokenizer uses."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ReRecError(
            f"{type(tokenizer).__name__} has no fast tokenizer; token spans need one. "
            "Load it with use_fast=True or convert it."
        )
    decoder = json.dumps(json.loads(backend.to_str()).get("decoder"), ensure_ascii=False)
    if "ByteLevel" in decoder:
        return "byte_level"
    if "Metaspace" in decoder or "\u2581" in decoder:
        return "metaspace"
    if decoder == "null" or '"Fuse"' in decoder:
        return "plain"
    raise ReRecError(f"cannot map tokens to bytes: unknown decoder {decoder}")


def _byte_level_alphabet() -> dict[str, int]:
    """The printable characters that byte-level BPE writes for the 256 bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet.update({chr(256 + n): byte for n, byte in enumerate(others)})
    return alphabet


BYTE_ALPHABET = _byte_level_alphabet()
"""Printable character of byte-level BPE -> the byte it stands for."""


def _piece_bytes(piece: str, kind: str) -> bytes:
    if kind == "byte_level":
        return bytes(BYTE_ALPHABET[character] for character in piece)
    if kind == "metaspace":
        match = _BYTE_TOKEN.fullmatch(piece)
        return bytes([int(match[1], 16)]) if match else piece.replace("\u2581", " ").encode()
    return piece.encode()
