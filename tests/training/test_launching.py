"""A job of several ranks: the same numbers as one process, its failures, its end, going on."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from rerec_pipeline.errors import BadParameterError, JobSubmitted, ReRecError, TrainingInterrupted
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.models.generation import answer
from rerec_pipeline.parameters import LaunchParameters
from rerec_pipeline.training.jobs import Answering, Training
from rerec_pipeline.training.launching import answer_all, train
from tests.training.test_trainer import GROUP, PROMPTS, boxed, rft_parameters

CONFIGS = Path(__file__).parents[2] / "conf/accelerate"
SAME = {"loss", "reward", "reward_std", "accuracy", "grad_norm", "curriculum/batch_difficulty"}


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def launch(preset=None, processes=1, jobs="."):
    return LaunchParameters(preset=preset, processes=processes, configs=str(CONFIGS), jobs=str(jobs))


def training(material, backbone, folder, steps, **changes):
    task, reward, examples = material
    budget = {"rollouts": steps * PROMPTS * GROUP, **changes.pop("budget", {})}
    rft = rft_parameters(backbone, folder, budget=budget, **changes)
    return Training(backbone, examples, None, task, reward.context, rft, 0)


class Logged:
    """Stands in for the logger of MLflow."""

    def __init__(self):
        self.steps, self.ended = [], False

    def on_train_begin(self, args, state, control, **_):
        self.steps.clear()

    def on_step_end(self, *_, **__):
        pass

    def on_log(self, args, state, control, logs=None, **_):
        self.steps.append((state.global_step, logs.get("reward")))

    def on_train_end(self, *_, **__):
        self.ended = True


def assert_same(one, several, tolerance=1e-5):
    assert len(one.log) == len(several.log)
    for name in sorted(SAME):
        assert several.log[name].tolist() == pytest.approx(
            one.log[name].tolist(), rel=tolerance, abs=1e-6
        ), name
    assert several.epochs.to_json() == one.epochs.to_json()
    for name, weight in several.policy.model.state_dict().items():
        other = one.policy.model.state_dict()[name]
        assert weight.shape == other.shape and (weight - other).abs().max() < 1e-4, name


@pytest.fixture(scope="module")
def alone(material, warm_backbone, tmp_path_factory):
    """(the work, what one process makes of it) of four steps."""
    folder = tmp_path_factory.mktemp("alone")
    work = training(material, warm_backbone, folder, 4)
    return work, train(work, launch(), folder / "one")


@pytest.mark.parametrize("preset", ["ddp", "fsdp"])
def test_two_ranks_train_what_one_process_does(alone, tmp_path, preset):
    """Groups of 4 rollouts, 6 on each rank: one group is spread over both."""
    work, one = alone
    logged = Logged()
    several = train(work, launch(preset, 2), tmp_path, [logged])
    assert_same(one, several)
    final = [(n, row) for n, row in logged.steps if row is not None]
    assert final == list(enumerate(several.log["reward"], start=1)) and logged.ended
    assert several.summary["tokens"] == one.summary["tokens"]
