"""From paragraphs of a completion to its tokens, exactly, for any tokenizer.

Everything is counted in UTF-8 bytes. A line break is one byte that no multi-byte character
contains, so paragraphs are exact even where a token ends in the middle of a character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BREAK = ord("\n")


@dataclass(frozen=True)
class Paragraphs:
    """A completion cut at its line breaks; together the paragraphs are the whole completion.

    Attributes:
        starts: First byte of each paragraph, int64 (P,); a paragraph ends where the next starts,
            the line breaks after its text included.
        texts: The text of each paragraph without the breaks.
    """

    starts: NDArray[np.int64]
    texts: tuple[str, ...]


def split_paragraphs(data: bytes) -> Paragraphs:
    """Cuts a completion (UTF-8 bytes) at its line breaks.

    Breaks belong to the paragraph before them; breaks at the very beginning belong to the first.
    """
    codes = np.frombuffer(data, dtype=np.uint8)
    text_begins = (codes != _BREAK) & np.concatenate(([False], codes[:-1] == _BREAK))
    # Whatever precedes the first break-and-text pair is the first paragraph, even if empty.
    starts = np.flatnonzero(text_begins).astype(np.int64)
    if len(data) and data[:1] == b"\n" and len(starts):
        starts[0] = 0
    else:
        starts = np.concatenate(([0], starts)).astype(np.int64)
    ends = np.append(starts[1:], len(data))
    texts = tuple(
        data[start:end].decode("utf-8", errors="replace").strip("\r\n")
        for start, end in zip(starts, ends, strict=True)
    )
    return Paragraphs(starts, texts)


def paragraph_of_tokens(
    lengths: NDArray[np.int64], leading_breaks: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The paragraph that each token belongs to.

    A token belongs to the paragraph of its first byte that is no line break, or, if it is all
    breaks, of its first byte. A token without bytes (a special token) has no paragraph.

    Args:
        lengths: Bytes of each token, int64 (T,).
        leading_breaks: Line breaks each token begins with, 0 for a token of nothing else, (T,).
        starts: First byte of each paragraph, ascending, (P,).

    Returns:
        Paragraph index of each token, int64 (T,); -1 for a token without bytes.
    """
    begins = np.cumsum(lengths) - lengths
    owners = np.searchsorted(starts, begins + leading_breaks, side="right") - 1
    return np.where(lengths > 0, owners, -1)


def penalised_tokens(
    lengths: Sequence[NDArray[np.int64]],
    leading_breaks: Sequence[NDArray[np.int64]],
    starts: Sequence[NDArray[np.int64]],
    penalised: Sequence[Sequence[int]],
    width: int,
) -> NDArray[np.bool_]:
    """Marks the tokens of penalised paragraphs in a batch of completions.

    Args:
        lengths: Per completion, bytes of each token.
        leading_breaks: Per completion, see ``paragraph_of_tokens``.
        starts: Per completion, first byte of each paragraph.
        penalised: Per completion, indices of the penalised paragraphs.
        width: Tokens in the longest completion, T.

    Returns:
        bool (B, T), False beyond a completion's end.
    """
    mask = np.zeros((len(lengths), width), dtype=bool)
    for row, paragraphs in enumerate(penalised):
        if paragraphs:
            owners = paragraph_of_tokens(lengths[row], leading_breaks[row], starts[row])
            mask[row, : len(owners)] = np.isin(owners, paragraphs)
    return mask
