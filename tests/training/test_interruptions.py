"""A training that is stopped anywhere ends where one without a break does, or says why not."""

import logging
import os
import shutil
import signal

import pytest
import torch
from transformers import Trainer, TrainerCallback

from rerec_pipeline.errors import BadInputError, TrainingInterrupted
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.training.fine_tuning import fine_tune_sft
from tests.training.test_trainer import boxed, rft_parameters, tune, weights


class AtStep(TrainerCallback):
    """Does something at the end of a step; notes where training began."""

    def __init__(self, step=-1, action=lambda: None):
        self.step, self.action, self.began = step, action, None

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = state.global_step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


def pull_the_plug():
    raise SystemError("killed")


@pytest.fixture(scope="module")
def whole(material, warm_backbone, tmp_path_factory):
    """(parameters, the policy's weights, a folder with checkpoints 2 and 4 of 6) of one run."""
    folder = tmp_path_factory.mktemp("whole")
    rft = rft_parameters(warm_backbone, folder)
    tuned = tune(material, warm_backbone, rft, folder / "whole")
    with pytest.raises(SystemError):
        tune(material, warm_backbone, rft, folder / "cut", callbacks=[AtStep(5, pull_the_plug)])
    return rft, weights(tuned), folder


def same(tuned, expected):
    return all(torch.equal(w, expected[name]) for name, w in weights(tuned).items())


def test_the_policy_is_not_the_last_place_where_a_training_is(material, warm_backbone, whole):
    """Killed while the policy is saved: the next run continues from the last step."""
    rft, expected, folder = whole
    notes = AtStep()
    again = tune(material, warm_backbone, rft, folder / "whole", callbacks=[notes])
    assert notes.began == 6 and same(again, expected)
    assert again.summary["steps"] == 6 and len(again.log) == 6


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_continue(
    material, warm_backbone, whole, tmp_path
):
    rft, expected, _ = whole
    stop = AtStep(3, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(
        TrainingInterrupted, match="same command again to continue from step 3 of 6"
    ):
        tune(material, warm_backbone, rft, tmp_path, callbacks=[stop])
    notes = AtStep()
    assert same(tune(material, warm_backbone, rft, tmp_path, callbacks=[notes]), expected)
    assert notes.began == 3


def test_lessons_are_gone_on_with_and_logged_as_if_there_had_been_no_break(
    material, warm_backbone, tmp_path
):
    plan = rft_parameters(warm_backbone, tmp_path).supervised
    task, _, examples = material

    def teach(folder, *callbacks):
        backbone, lessons = load_backbone(warm_backbone), boxed(examples, task)
        return fine_tune_sft(backbone, lessons, plan, 0, tmp_path / folder, callbacks)

    one, stop = teach("one"), AtStep(3, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(TrainingInterrupted, match="continue from step 3"):
        teach("two", stop)
    two = teach("two", notes := AtStep())
    assert notes.began == 3 and same(two, weights(one)) and one.log["num_tokens"].is_unique
    untimed = one.log.columns[~one.log.columns.str.startswith("train_")]
    assert two.log[untimed].equals(one.log[untimed])


PARTS = ["model.safetensors", "scheduler.pt", "trainer_state.json"]


@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_part_is_said_and_the_checkpoint_before_is_used(
    material, warm_backbone, whole, tmp_path, part, caplog
):
    rft, expected, folder = whole
    shutil.copytree(folder / "cut", tmp_path / "cut")
    file = tmp_path / "cut/checkpoint-4" / part
    content = bytearray(file.read_bytes())
    if part == "scheduler.pt":
        file.unlink()
    elif part == "trainer_state.json":
        file.write_bytes(content[: len(content) // 2])  # as a full disk leaves it
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    notes = AtStep()
    with caplog.at_level(logging.WARNING):
        again = tune(material, warm_backbone, rft, tmp_path / "cut", callbacks=[notes])
    assert "checkpoint-4 is not what its record says" in caplog.text
    assert notes.began == 2 and same(again, expected)


def test_a_disk_that_is_full_leaves_a_run_that_continues(
    material, warm_backbone, whole, tmp_path, monkeypatch
):
    rft, expected, _ = whole
    save = Trainer._save_optimizer_and_scheduler

    def full(self, output_dir):
        if self.state.global_step == 4:
            raise OSError(28, "No space left on device")
        save(self, output_dir)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", full)
    with pytest.raises(BadInputError, match="full at step 4. Free some space and run the same"):
        tune(material, warm_backbone, rft, tmp_path)
    monkeypatch.undo()
    notes = AtStep()
    assert same(tune(material, warm_backbone, rft, tmp_path, callbacks=[notes]), expected)
    assert notes.began == 2
