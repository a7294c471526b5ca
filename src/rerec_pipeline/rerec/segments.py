"""From paragraphs of a completion to its tokens, exactly, for any tokenizer.

Everything is counted in UTF-8 bytes. A line break is one byte that no multi-byte character
contains, so paragraphs are exact even where a token ends in the middle of a character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

_BREAK = ord("\n")


@dataclass(frozen=True)
class Paragraphs:
    """Completions cut at their line breaks; their paragraphs together are all their bytes.

    Attributes:
        starts: First byte of each of the P paragraphs of B completions that stand one after the
            other, int64 (P,), ascending. A paragraph ends where the next one starts, the line
            breaks after its text included.
        counts: Paragraphs of each completion, at least 1, int64 (B,).
        texts: Per completion, the text of each of its paragraphs without the breaks.
    """

    starts: IntArray
    counts: IntArray
    texts: list[tuple[str, ...]]


def split_paragraphs(data: bytes, n_bytes: IntArray) -> Paragraphs:
    """Cuts completions (UTF-8 bytes) at their line breaks.

    Breaks belong to the paragraph before them; breaks at the very beginning of a completion
    belong to its first. A completion without text is one paragraph.

    Args:
        data: The bytes of B completions, one after the other.
        n_bytes: How many of them are each completion's, int64 (B,).
    """
    ends = np.cumsum(n_bytes)
    begins = ends - n_bytes
    is_text = np.frombuffer(data, dtype=np.uint8) != _BREAK
    goes_on = np.concatenate(([False], is_text[:-1]))
    goes_on[begins[n_bytes > 0]] = False
    starts = np.flatnonzero(is_text & ~goes_on)
    owners = np.searchsorted(ends, starts, side="right")
    counts = np.bincount(owners, minlength=len(n_bytes))
    # Whatever precedes the first text of a completion belongs to its first paragraph.
    starts[np.diff(owners, prepend=-1) > 0] = begins[counts > 0]
    starts = np.sort(np.concatenate([starts, begins[counts == 0]]))
    texts = [_texts(data[b:e]) for b, e in zip(begins.tolist(), ends.tolist(), strict=True)]
    return Paragraphs(starts, np.maximum(counts, 1), texts)


def _texts(data: bytes) -> tuple[str, ...]:
    lines = tuple(filter(None, data.decode("utf-8", errors="replace").split("\n")))
    if b"\r" in data:
        lines = tuple(line.strip("\r") for line in lines)
    return lines or ("",)


def paragraph_of_tokens(lengths: IntArray, leading_breaks: IntArray, starts: IntArray) -> IntArray:
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
    counted = np.cumsum(lengths) - lengths + leading_breaks
    # Both ascend, and there are far fewer paragraphs than tokens: look for the paragraphs.
    first_tokens = np.searchsorted(counted, starts)
    n_tokens = np.diff(first_tokens, prepend=0, append=len(lengths))
    owners = np.repeat(np.arange(-1, len(starts)), n_tokens)
    return np.where(lengths > 0, owners, -1)


def penalised_tokens(
    lengths: IntArray,
    leading_breaks: IntArray,
    n_tokens: IntArray,
    paragraphs: Paragraphs,
    penalised: Sequence[Sequence[int]],
    width: int,
) -> NDArray[np.bool_]:
    """Marks the tokens of penalised paragraphs in a batch of completions.

    Args:
        lengths: Bytes of each token of B completions, int64 (T,).
        leading_breaks: Of each token, see ``paragraph_of_tokens``, int64 (T,).
        n_tokens: Tokens of each completion, int64 (B,).
        paragraphs: The paragraphs of the completions.
        penalised: Per completion, indices of its penalised paragraphs.
        width: Tokens in the longest completion, W.

    Returns:
        bool (B, W), False beyond a completion's end.
    """
    first = np.cumsum(paragraphs.counts) - paragraphs.counts
    chosen = [n + own for n, some in zip(first.tolist(), penalised, strict=True) for own in some]
    # One place more than there are paragraphs: that of tokens without one, -1.
    is_penalised = np.zeros(len(paragraphs.starts) + 1, dtype=bool)
    is_penalised[chosen] = True
    mask = np.zeros((len(n_tokens), width), dtype=bool)
    owners = paragraph_of_tokens(lengths, leading_breaks, paragraphs.starts)
    mask[np.arange(width) < n_tokens[:, None]] = is_penalised[owners]
    return mask
