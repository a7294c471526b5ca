"""Tokens to bytes for the kinds of tokenizers there are; spans on text with accents and emoji."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.models.phrase_tokenizer import build_phrase_tokenizer
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.rerec.segments import penalised_tokens, split_paragraphs
from tests.conftest import train_byte_level_bpe

TEXTS = [
    "L'Été Immobile (1960)\nis 😀 fine.\n\nÇa va? Łukasz says “yes”.",
    "plain text\n",
    "日本語\nです",
]


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """A BPE with metaspaces and byte fallback, as Llama 2 and Mistral have."""
    raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    raw.train_from_iterator(
        ["plain text is fine says va is\n"] * 3,
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))],
        ),
    )
    state = json.loads(raw.to_str())
    # the trainer calls byte tokens special; real vocabularies do not
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="</s>", unk_token="<unk>"
    )


def phrases():
    return build_phrase_tokenizer(["L'Été Immobile (1960)", "Łukasz Kovács"], TEXTS)


@pytest.fixture(scope="module", params=["byte_level", "metaspace", "phrases"])
def tokenizer(request):
    return {
        "byte_level": lambda: train_byte_level_bpe(TEXTS),
        "metaspace": sentencepiece_like,
        "phrases": phrases,
    }[request.param]()


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="ab é日😀\nŁ.?", max_size=30) | st.sampled_from(TEXTS))
def test_bytes_are_the_text(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    read = TokenBytes(tokenizer).read(ids)
    assert read.text == text
    assert read.lengths.sum() == len(text.encode())


def test_special_tokens_have_no_bytes(tokenizer):
    table = TokenBytes(tokenizer)
    ids = tokenizer("va")["input_ids"]
    read = table.read([tokenizer.eos_token_id, *ids, tokenizer.eos_token_id])
    assert read.text == "va"
    assert read.lengths[0] == read.lengths[-1] == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 399), max_size=25))
def test_any_ids_decode_as_the_tokenizer_decodes_them(bpe_tokenizer, ids):
    """Sampled tokens need not be what encoding their text gives."""
    read = TokenBytes(bpe_tokenizer).read(ids)
    assert read.text == bpe_tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("batch", [[[]], [[], []], [[5, 70], [], [300, 5, 5]]])
def test_a_batch_is_read_as_its_completions_are(bpe_tokenizer, batch):
    table = TokenBytes(bpe_tokenizer)
    read, alone = table.read_batch(batch), [table.read(ids) for ids in batch]
    assert read.texts == [one.text for one in alone]
    assert read.data == b"".join(one.data for one in alone)
    assert read.n_tokens.tolist() == [len(ids) for ids in batch]
    assert read.n_bytes.tolist() == [len(one.data) for one in alone]
    for name in ("lengths", "leading_breaks"):
        apart = [getattr(one, name) for one in alone]
        assert getattr(read, name).tolist() == np.concatenate(apart).tolist()


def test_a_negative_id_is_an_error(bpe_tokenizer):
    with pytest.raises(IndexError):
        TokenBytes(bpe_tokenizer).read([-1])


def test_an_id_beyond_the_vocabulary_is_no_text(bpe_tokenizer):
    """Models have more rows than their tokenizer has tokens, and may sample any."""
    assert TokenBytes(bpe_tokenizer).read([10**6]).data == b""


@settings(max_examples=60, deadline=None)
@given(
    paragraphs=st.lists(
        st.text(alphabet="ab é日😀Ł. ", min_size=1, max_size=12), min_size=1, max_size=5
    ),
    breaks=st.sampled_from(["\n", "\n\n"]),
    chosen=st.integers(0, 4),
)
def test_penalised_tokens_are_exactly_those_of_the_paragraph(tokenizer, paragraphs, breaks, chosen):
    """Decoding the marked tokens gives the paragraph and its breaks, nothing more or less."""
    chosen %= len(paragraphs)
    text = breaks.join(paragraphs)
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    read = TokenBytes(tokenizer).read(ids)
    split = split_paragraphs(read.data, read.n_bytes)
    assert list(split.texts[0]) == paragraphs
    mask = penalised_tokens(
        read.lengths, read.leading_breaks, read.n_tokens, split, [[chosen]], len(ids)
    )
    marked = TokenBytes(tokenizer).read(np.array(ids)[mask[0]].tolist()).text
    assert marked.strip("\n") == paragraphs[chosen]
    assert not mask[0, -1]


def test_unknown_kinds_are_refused():
    raw = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    raw.decoder = decoders.WordPiece()
    with pytest.raises(ReRecError, match="unknown decoder"):
        TokenBytes(PreTrainedTokenizerFast(tokenizer_object=raw))


def test_a_token_that_would_not_decode_to_itself_is_refused():
    with pytest.raises(ValueError, match="decodes to"):
        build_phrase_tokenizer(["Été"], [])
