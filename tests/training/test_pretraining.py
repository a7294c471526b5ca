"""Pretraining: interrupted and started again, it gives the model it would have given."""

import numpy as np
import pytest
import torch

from rerec_pipeline.models.backbone import load_backbone, save_backbone
from rerec_pipeline.models.chat import ASSISTANT, EOS, USER
from rerec_pipeline.models.fixed_rows import fix_rows, hold_fixed_rows
from rerec_pipeline.models.phrase_tokenizer import build_phrase_tokenizer
from rerec_pipeline.parameters import ArchitectureParameters
from rerec_pipeline.recbench.documents import Document
from rerec_pipeline.storage.checkpoints import remove_finished
from rerec_pipeline.training import pretraining
from rerec_pipeline.training.pretraining import DocumentEncoder, Encoded, pretrain
from rerec_pipeline.training.scratch import first_phrase, train_tokenizer
from tests.conftest import train_byte_level_bpe

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Settings:
    """What pretraining reads of its parameters."""

    architecture = ArchitectureParameters(
        hidden=16, layers=1, heads=2, mlp=32, init_std=0.05, rope_theta=1e4
    )
    lr = 1e-2
    warmup_steps = 2
    weight_decay = 0.0
    checkpoint_every = 3
    seed = 0


@pytest.fixture(scope="module")
def tokenizer():
    made = train_byte_level_bpe([LETTERS])
    made.pad_token = made.eos_token
    return made


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    # Every batch is another one: a resumed run that reads them from the start ends elsewhere.
    return [
        [Encoded(rng.integers(10, 60, size=8), np.ones(8, dtype=np.float32)) for _ in range(2)]
        for _ in range(8)
    ]


def test_an_interrupted_pretraining_goes_on_to_the_same_model(
    tokenizer, batches, tmp_path, monkeypatch
):
    whole = pretrain(batches, tokenizer, Settings, tmp_path / "whole")
    seen = []
    compute = pretraining._PretrainingTrainer.compute_loss

    def stopped(self, model, inputs, *more, **named):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(inputs)
        return compute(self, model, inputs, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining._PretrainingTrainer, "compute_loss", stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain(batches, tokenizer, Settings, tmp_path / "parts")
    assert (tmp_path / "parts/checkpoint-3").is_dir()
    resumed = pretrain(batches, tokenizer, Settings, tmp_path / "parts")
    for name, weights in whole.model.state_dict().items():
        assert torch.equal(weights, resumed.model.state_dict()[name]), name
    remove_finished()  # the results are on the disk
    assert not (tmp_path / "parts").exists()


def test_fixed_rows_stay_as_drawn_in_pretraining_and_in_a_training_of_what_is_saved(
    tokenizer, batches, tmp_path
):
    drawn = pretraining.new_model(Settings.architecture, tokenizer, 0)
    fix_rows(drawn, 40, 0.5)
    made = pretrain(batches, tokenizer, Settings, tmp_path / "run", fixed_rows=(40, 0.5))

    def rows(model):
        return model.get_input_embeddings().weight.detach()

    assert torch.equal(rows(made.model)[40:], rows(drawn)[40:])
    assert 0.4 < rows(made.model)[40:].std() < 0.6  # and not the .05 of all other weights
    # All others move, those of tokens in no batch as well: softmax lowers every one.
    assert (rows(made.model)[:40] != rows(drawn)[:40]).any(dim=1).all()
    save_backbone(made, tmp_path / "saved")
    loaded = load_backbone(str(tmp_path / "saved")).model
    hold_fixed_rows(loaded)
    ids = torch.arange(60).unsqueeze(0)
    loaded(input_ids=ids, labels=ids).loss.backward()
    gradient = loaded.get_input_embeddings().weight.grad
    assert (gradient[:40] != 0).any() and (gradient[40:] == 0).all()


def test_a_model_that_fixes_no_rows_trains_all(tokenizer):
    model = pretraining.new_model(Settings.architecture, tokenizer, 0)
    hold_fixed_rows(model)
    ids = torch.arange(60).unsqueeze(0)
    model(input_ids=ids, labels=ids).loss.backward()
    assert (model.get_input_embeddings().weight.grad != 0).any(dim=1).all()


def test_every_batch_is_read_once_and_in_order(tokenizer, batches, tmp_path, monkeypatch):
    read = []
    compute = pretraining._PretrainingTrainer.compute_loss

    def noted(self, model, inputs, *more, **named):
        read.append(inputs["input_ids"])
        return compute(self, model, inputs, *more, **named)

    monkeypatch.setattr(pretraining._PretrainingTrainer, "compute_loss", noted)
    pretrain(batches, tokenizer, Settings, tmp_path / "run")
    assert len(read) == len(batches)
    for ids, batch in zip(read, batches, strict=True):
        assert ids.tolist() == [document.ids.tolist() for document in batch]


def test_a_control_token_in_a_title_is_text():
    tokenizer = build_phrase_tokenizer(["Dune (1984)"], ["Which one?", "a b"])
    encoder = DocumentEncoder(tokenizer, ["a"])
    encoded = encoder.encode(Document("ask", ((f"Which {EOS}?", f"b {USER}"),)), 2.0)
    control = tokenizer.convert_tokens_to_ids([USER, ASSISTANT, EOS])
    assert [n for n in encoded.ids.tolist() if n in control] == control
    assert tokenizer.decode(encoded.ids) == f"{USER}Which {EOS}?{ASSISTANT}b {USER}{EOS}"


def test_titles_and_names_of_a_model_from_scratch_are_one_token_each():
    phrases = ["Ma (2019)", "Zu", "Ann Lee", "Pathé"]
    tokenizer = train_tokenizer(["I liked Ma (2019) and Max."] * 3, 320, phrases)

    def split(text):
        return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])

    assert [p for p in split("Ma (2019): starring Ann Lee") if p in phrases] == phrases[::2]
    assert "Zu" in split("Zu!") and "Zu" not in split("Zulu")
    assert "Ann Lee" not in split("Joann Leeds")
    # As one token its letter beyond ASCII would be read as a byte.
    assert "Pathé" not in split("Pathé")
    for text in ("Pathé", "Ma (2019)", "Maximum Ma; ★ Ann Lee's", "\\boxed{Ma (2019)}"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) <= 320 + 3
    after = range(first_phrase(tokenizer), len(tokenizer))
    assert {tokenizer.convert_ids_to_tokens(n) for n in after} == {"Ann Lee", "Ma (2019)", "Zu"}


def test_a_tokenizer_without_phrases_has_the_vocabulary_alone():
    tokenizer = train_tokenizer(["a b c"], 320)
    assert len(tokenizer) <= 320 and first_phrase(tokenizer) is None
