"""Paragraphs and their tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerec_pipeline.rerec.segments import (
    Paragraphs,
    paragraph_of_tokens,
    penalised_tokens,
    split_paragraphs,
)


@pytest.mark.parametrize(
    ("text", "texts", "starts"),
    [
        ("one", ["one"], [0]),
        ("one\ntwo", ["one", "two"], [0, 4]),
        ("one\n\n\ntwo\n", ["one", "two"], [0, 6]),
        ("\none\ntwo", ["one", "two"], [0, 5]),
        ("é\r\nü", ["é", "ü"], [0, 4]),
        ("\n\n", [""], [0]),
        ("", [""], [0]),
    ],
)
def test_split_by_hand(text, texts, starts):
    paragraphs = split(text)
    assert paragraphs.texts == [tuple(texts)]
    assert paragraphs.starts.tolist() == starts
    assert paragraphs.counts.tolist() == [len(starts)]


def split(*texts: str) -> Paragraphs:
    data = [text.encode() for text in texts]
    return split_paragraphs(b"".join(data), np.array([len(d) for d in data], dtype=np.int64))


def test_completions_of_a_batch_are_cut_apart():
    # breaks at an end or a beginning do not run on into the next completion
    paragraphs = split("one\n", "", "\n\n", "two", "\nthree\nfour")
    assert paragraphs.texts == [("one",), ("",), ("",), ("two",), ("three", "four")]
    assert paragraphs.starts.tolist() == [0, 4, 4, 6, 9, 16]
    assert paragraphs.counts.tolist() == [1, 1, 1, 1, 2]


TEXT = st.text(alphabet="ab é😀\n", max_size=40)


@given(TEXT)
def test_paragraphs_are_the_whole_text_and_hold_no_break(text):
    data = text.encode()
    paragraphs = split(text)
    ends = [*paragraphs.starts[1:], len(data)]
    pieces = [data[s:e] for s, e in zip(paragraphs.starts, ends, strict=True)]
    assert b"".join(pieces) == data
    assert all("\n" not in t for t in paragraphs.texts[0])
    assert [t for t in paragraphs.texts[0] if t] == [t for t in text.split("\n") if t]


@given(st.lists(TEXT, min_size=1, max_size=6))
def test_a_batch_is_cut_as_its_completions_are(texts):
    alone = [split(text) for text in texts]
    before = np.cumsum([0, *(len(text.encode()) for text in texts)])
    together = split(*texts)
    starts = [part.starts + at for part, at in zip(alone, before, strict=False)]
    assert together.texts == [part.texts[0] for part in alone]
    assert together.starts.tolist() == np.concatenate(starts).tolist()
    assert together.counts.tolist() == [len(part.starts) for part in alone]


def owners(pieces: list[bytes]) -> list[int]:
    lengths = np.array([len(p) for p in pieces])
    leading = np.array([len(p) - len(p.lstrip(b"\n")) if p.strip(b"\n") else 0 for p in pieces])
    data = b"".join(pieces)
    starts = split_paragraphs(data, np.array([len(data)])).starts
    return paragraph_of_tokens(lengths, leading, starts).tolist()


def test_tokens_by_hand():
    assert owners([b"one", b" two", b"\n", b"three"]) == [0, 0, 0, 1]
    # a break glued to the end of a sentence stays with it, one glued to the next word goes on
    assert owners([b"one.\n\n", b"two", b"\nthree"]) == [0, 1, 2]


def test_a_character_cut_into_several_tokens():
    emoji = "😀".encode()
    assert owners([emoji[:2], emoji[2:], b"\n", b"x"]) == [0, 0, 0, 1]


def test_tokens_without_bytes_have_no_paragraph():
    assert owners([b"one", b"", b"\n", b"two", b""]) == [0, -1, 0, 1, -1]


@given(
    st.lists(
        st.sampled_from([b"a", b"bc ", b"\n", b"\n\n", b".\n", "é".encode(), b""]), max_size=30
    )
)
def test_every_byte_but_breaks_lies_in_its_tokens_paragraph(pieces):
    data = b"".join(pieces)
    starts = split_paragraphs(data, np.array([len(data)])).starts
    at = 0
    for piece, owner in zip(pieces, owners(pieces), strict=True):
        for offset, byte in enumerate(piece):
            if byte != ord("\n"):
                assert owner == np.searchsorted(starts, at + offset, side="right") - 1
        at += len(piece)


def test_batch_mask_by_hand():
    # "one\ntwo", nothing but an end token, "three": the second paragraph and the last completion
    lengths = np.array([3, 1, 3, 0, 0, 5])
    paragraphs = Paragraphs(
        np.array([0, 4, 7, 7]), np.array([2, 1, 1]), [("one", "two"), ("",), ("three",)]
    )
    n_tokens = np.array([4, 1, 1])
    mask = penalised_tokens(lengths, np.zeros(6, int), n_tokens, paragraphs, [[1], [], [0]], 5)
    assert mask.tolist() == [
        [False, False, True, False, False],
        [False] * 5,
        [True, False, False, False, False],
    ]
    nothing = penalised_tokens(lengths, np.zeros(6, int), n_tokens, paragraphs, [[], [], []], 5)
    assert not nothing.any()
