"""From the tokens of completions to penalised tokens: against decoding token by token.

The reference decodes every token alone and adds up characters, as the released code does. Where a
token ends inside a character of several bytes its text is wrong, and spans after it are shifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from benchmarks.measure import Check, Section, at_least, in_turns, speed_row
from rerec_pipeline.models.token_bytes import CompletionBytes, TokenBytes
from rerec_pipeline.rerec.segments import penalised_tokens, split_paragraphs

NAMES = ("Été", "Łódź", "Müller", "東京", "物語", "Πόλη", "Ночь", "señora", "naïve", "crème")
WORDS = (
    "the", "film", "was", "directed", "by", "someone", "who", "also", "made", "another", "one",
    "that", "fits", "less", "well", "because", "of", "its", "year", "and", "cast", "so", "no",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large the work is.

    Attributes:
        completions: B.
        tokens: Tokens of a completion, about.
        vocabulary: Entries of the tokenizer.
        pairs: Pairs that are timed.
    """

    completions: int
    tokens: int
    vocabulary: int
    pairs: int


FULL = Size(completions=2560, tokens=305, vocabulary=2000, pairs=5)


def paragraph(rng: np.random.Generator) -> str:
    """A line about a title; titles nobody has seen before fall into single bytes."""
    drawn = "".join(chr(c) for c in rng.integers(0x4E00, 0x9FA5, size=2))
    title = f"{rng.choice(NAMES)} {drawn} {rng.choice(NAMES)} ({rng.integers(1920, 2020)})"
    return f"{title}: {' '.join(rng.choice(WORDS, size=12))} “{rng.choice(NAMES)}” 😀"


def train_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on text of the same kind."""
    rng = np.random.default_rng(0)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    raw.train_from_iterator([paragraph(rng) + "\n" for _ in range(2000)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>")


def make_completions(
    tokenizer: PreTrainedTokenizerFast, size: Size
) -> tuple[list[str], list[list[int]]]:
    """Texts of several paragraphs, and their tokens with the end token behind them."""
    rng = np.random.default_rng(1)
    each = len(tokenizer("\n".join(paragraph(rng) for _ in range(50)))["input_ids"]) / 50
    lines = max(1, round(size.tokens / each))
    texts = ["\n".join(paragraph(rng) for _ in range(lines)) for _ in range(size.completions)]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return texts, [[*row, tokenizer.eos_token_id] for row in ids]


def decode_one_by_one(
    tokenizer: Any, ids: Sequence[Sequence[int]], chosen: Sequence[int]
) -> tuple[list[str], list[list[bool]]]:
    """The reference: texts put together, and the tokens that begin in the chosen paragraph."""
    texts, masks = [], []
    for row, wanted in zip(ids, chosen, strict=True):
        paragraphs = tokenizer.decode(row, skip_special_tokens=True).split("\n")
        pieces = [tokenizer.decode([token], skip_special_tokens=True) for token in row]
        start = sum(len(line) + 1 for line in paragraphs[:wanted])
        end = start + len(paragraphs[wanted]) + 1
        at, mask = 0, []
        for piece in pieces:
            mask.append(start <= at < end and piece != "")
            at += len(piece)
        texts.append("".join(pieces))
        masks.append(mask)
    return texts, masks


def by_bytes(
    table: TokenBytes, ids: Sequence[Sequence[int]], chosen: Sequence[int]
) -> tuple[CompletionBytes, np.ndarray]:
    """The project's way: bytes of each completion, and the penalised tokens, bool (B, T)."""
    read = table.read_batch(ids)
    split = split_paragraphs(read.data, read.n_bytes)
    mask = penalised_tokens(
        read.lengths,
        read.leading_breaks,
        read.n_tokens,
        split,
        [[wanted] for wanted in chosen],
        int(read.n_tokens.max()),
    )
    return read, mask


def count_exact(
    tokenizer: Any,
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    masks: Sequence[Sequence[bool]] | np.ndarray,
    chosen: Sequence[int],
) -> int:
    """Completions whose marked tokens, decoded together, are just the chosen paragraph."""
    right = 0
    for text, row, mask, wanted in zip(texts, ids, masks, chosen, strict=True):
        marked = [token for token, is_marked in zip(row, mask, strict=False) if is_marked]
        found = tokenizer.decode(marked, skip_special_tokens=True)
        right += found.strip("\n") == text.split("\n")[wanted]
    return right


def run(size: Size = FULL) -> Section:
    """Measures both ways and reports."""
    tokenizer = train_tokenizer(size.vocabulary)
    texts, ids = make_completions(tokenizer, size)
    rng = np.random.default_rng(2)
    chosen = [int(rng.integers(text.count("\n") + 1)) for text in texts]
    table = TokenBytes(tokenizer)
    found: dict[str, tuple] = {}

    def reference(turn: int) -> None:
        found["reference"] = decode_one_by_one(tokenizer, ids, chosen)

    def ours(turn: int) -> None:
        found["ours"] = by_bytes(table, ids, chosen)

    pairs = in_turns(reference, ours, size.pairs)
    same_text = {
        "reference": sum(a == b for a, b in zip(found["reference"][0], texts, strict=True)),
        "ours": sum(a == b for a, b in zip(found["ours"][0].texts, texts, strict=True)),
    }
    same_bytes = found["ours"][0].data == "".join(texts).encode()
    same_marks = {
        name: count_exact(tokenizer, texts, ids, result[1], chosen)
        for name, result in found.items()
    }
    everything = len(texts)
    exact = same_bytes and same_text["ours"] == same_marks["ours"] == everything
    mean = np.mean([len(row) for row in ids])
    return Section(
        title="Paragraphs to tokens",
        conditions=(
            f"{everything:,} completions x {mean:.0f} tokens of a byte-level BPE "
            f"({len(tokenizer):,} entries), text with accents, other scripts and emoji; one "
            "paragraph of each completion is penalised. The table of bytes is made beforehand."
        ),
        header=["", "reference, ms", "ours, ms", "ratio", "exact: reference", "exact: ours"],
        rows=[
            speed_row(
                "tokens of a paragraph",
                pairs,
                *(
                    f"{same_text[name]:,} texts, {same_marks[name]:,} paragraphs"
                    for name in ("reference", "ours")
                ),
            )
        ],
        checks=[
            at_least("tokens of a paragraph", pairs.ratio, 40.0),
            Check(f"exact in all {everything:,} completions (bytes and paragraphs)", exact),
        ],
        ratios={"paragraph_tokens": pairs.ratio},
    )
