"""Rows of an embedding that a model's config fixes stay, whichever way it is fine-tuned."""

import pytest
import torch

from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.models.fixed_rows import fix_rows
from rerec_pipeline.training import fine_tuning
from rerec_pipeline.training.fine_tuning import fine_tune_sft
from tests.training.test_trainer import boxed, rft_parameters, tune

FIRST = 40


@pytest.fixture(scope="module")
def fixed(warm_backbone, tmp_path_factory):
    """The warm backbone, saved with rows that are fixed."""
    folder = tmp_path_factory.mktemp("fixed")
    backbone = load_backbone(warm_backbone)
    fix_rows(backbone.model, FIRST, 0.1)
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return str(folder)


def rows(model):
    return model.get_input_embeddings().weight.detach()


def held(tuned, before):
    """Whether the fixed rows are as before, and others are not."""
    now, then = rows(tuned.policy.model), rows(load_backbone(before).model)
    return torch.equal(now[FIRST:], then[FIRST:]) and not torch.equal(now[:FIRST], then[:FIRST])


def test_reinforcement_keeps_them(material, fixed, tmp_path):
    assert held(tune(material, fixed, rft_parameters(fixed, tmp_path), tmp_path), fixed)


def test_supervised_training_keeps_them(material, fixed, tmp_path):
    plan = rft_parameters(fixed, tmp_path).supervised
    task, _, examples = material
    lessons = boxed(examples, task)
    assert held(fine_tune_sft(load_backbone(fixed), lessons, plan, 0, tmp_path / "sft"), fixed)


def test_an_adapter_trains_no_embedding_and_goes_on(material, fixed, tmp_path):
    lora = {"r": 2, "alpha": 4, "dropout": 0.0, "target_modules": "all-linear"}
    rft = rft_parameters(fixed, tmp_path, backbone={"lora": lora})
    assert tune(material, fixed, rft, tmp_path).summary["steps"] == 6


@pytest.mark.parametrize("kind", ["fsdp", "zero3"])
def test_ranks_that_share_weights_out_are_refused(material, fixed, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fine_tuning, "sharding", lambda trainer: kind)
    with pytest.raises(BadParameterError, match=r"launch\.preset=ddp"):
        tune(material, fixed, rft_parameters(fixed, tmp_path), tmp_path)
