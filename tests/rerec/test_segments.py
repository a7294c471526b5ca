"""Paragraphs and their tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerec_pipeline.rerec.segments import paragraph_of_tokens, penalised_tokens, split_paragraphs


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
    paragraphs = split_paragraphs(text.encode())
    assert list(paragraphs.texts) == texts
    assert paragraphs.starts.tolist() == starts


@given(st.text(alphabet="ab é😀\n", max_size=40))
def test_paragraphs_are_the_whole_text_and_hold_no_break(text):
    data = text.encode()
    paragraphs = split_paragraphs(data)
    ends = [*paragraphs.starts[1:], len(data)]
    pieces = [data[s:e] for s, e in zip(paragraphs.starts, ends, strict=True)]
    assert b"".join(pieces) == data
    assert all("\n" not in t for t in paragraphs.texts)
    assert [t for t in paragraphs.texts if t] == [t for t in text.split("\n") if t]


def owners(pieces: list[bytes]) -> list[int]:
    lengths = np.array([len(p) for p in pieces])
    leading = np.array([len(p) - len(p.lstrip(b"\n")) if p.strip(b"\n") else 0 for p in pieces])
    return paragraph_of_tokens(lengths, leading, split_paragraphs(b"".join(pieces)).starts).tolist()


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
    starts = split_paragraphs(data).starts
    at = 0
    for piece, owner in zip(pieces, owners(pieces), strict=True):
        for offset, byte in enumerate(piece):
            if byte != ord("\n"):
                assert owner == np.searchsorted(starts, at + offset, side="right") - 1
        at += len(piece)


def test_batch_mask_by_hand():
    lengths = [np.array([3, 1, 3]), np.array([5])]
    leading = [np.zeros(3, dtype=int), np.zeros(1, dtype=int)]
    starts = [np.array([0, 4]), np.array([0])]
    mask = penalised_tokens(lengths, leading, starts, [[1], []], width=4)
    assert mask.tolist() == [[False, False, True, False], [False] * 4]
