"""A GGUF file is a backbone: converted once, into the model and the tokenizer it was made of."""

import os

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rerec_pipeline.errors import BadInputError, ReRecError
from rerec_pipeline.models import gguf
from rerec_pipeline.models.backbone import as_folder, load_backbone, load_tokenizer
from rerec_pipeline.models.token_bytes import TokenBytes
from tests.models.gguf_files import write_gguf
from tests.training.real_backbones import make_backbone

TEXTS = ["Candidates:\n\nThe  Film (1999)\n", "Request: 12 of 3\n\n2 films", "a  1\n\n1"] * 3


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_backbone("smollm2", tmp_path_factory.mktemp("original"), TEXTS)


@pytest.fixture(scope="module")
def file(original, tmp_path_factory):
    file = tmp_path_factory.mktemp("downloads") / "small.v1.gguf"
    write_gguf(original, file)
    return file


@pytest.fixture(scope="module")
def backbone(file):
    return load_backbone(str(file), "float32")


def test_it_is_converted_beside_the_file(file, backbone):
    assert as_folder(str(file)) == str(file.parent / "small.v1")
    names = sorted(p.name for p in file.parent.iterdir())
    assert names == [".records", "small.v1", "small.v1.gguf"]


def test_the_weights_are_the_files_in_bfloat16(original, file, backbone):
    expected = AutoModelForCausalLM.from_pretrained(original).state_dict()
    found = backbone.model.state_dict()
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight.bfloat16().float()), name
    assert load_backbone(str(file)).model.dtype == torch.bfloat16


def test_the_tokenizer_cuts_as_the_original_does(original, backbone):
    own = AutoTokenizer.from_pretrained(original)
    for text in [*TEXTS, "x\n\n\n42", " 7  8", "<|im_end|>\n1"]:
        assert backbone.tokenizer(text)["input_ids"] == own(text)["input_ids"]
    assert backbone.tokenizer.chat_template == own.chat_template
    assert backbone.tokenizer.padding_side == "left"
    assert backbone.tokenizer.eos_token == "<|im_end|>"
    table = TokenBytes(backbone.tokenizer)
    assert table.read(own("L'Été 1 😀")["input_ids"]).text == "L'Été 1 😀"


def test_it_is_converted_once_and_again_when_the_file_has_changed(file, monkeypatch):
    made = []
    monkeypatch.setattr(gguf, "convert", lambda *given: made.append(given))
    load_tokenizer(str(file))
    assert made == []
    os.utime(file, ns=(1, 1))
    assert as_folder(str(file)) == str(file.parent / "small.v1")
    assert [given[0] for given in made] == [file]


def test_a_missing_file_and_a_missing_package_say_so(tmp_path, file, monkeypatch):
    with pytest.raises(BadInputError, match="there is no such GGUF file"):
        load_backbone(str(tmp_path / "nothing.gguf"))
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    with pytest.raises(ReRecError, match="pip install"):
        gguf.convert(file, tmp_path / "model", {})
    assert not (tmp_path / "model").exists()


def test_a_backbone_that_is_fetched_names_the_command(tmp_path):
    with pytest.raises(BadInputError, match="kedro fetch-backbone smollm2-135m"):
        load_tokenizer(str(tmp_path / "backbones" / "smollm2-135m"))
