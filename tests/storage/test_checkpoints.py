"""A damaged checkpoint is named and never used; the one before it is."""

import json
import logging
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import BaseModel

from rerec_pipeline.errors import TrainingInterrupted
from rerec_pipeline.storage.checkpoints import Checkpoints, fingerprint, remove_finished
from rerec_pipeline.training.epochs import fit_or_resume
from rerec_pipeline.training.ranks import StopRequest


class Settings(BaseModel):
    lr: float = 0.1
    checkpoint_dir: str = "/somewhere"
    backbone: str = "some/name"


class TestFingerprint:
    def test_everything_counts(self):
        table, array = pd.DataFrame({"a": [1]}), np.arange(3)
        known = fingerprint(Settings(), table, array, 0)
        assert known == fingerprint(Settings(checkpoint_dir="/elsewhere"), table, array, 0)
        others = [
            (Settings(lr=0.2), table, array, 0),
            (Settings(), pd.DataFrame({"a": [2]}), array, 0),
            (Settings(), table, array.astype("int32"), 0),
            (Settings(), table, array, 1),
            (Settings(), table, array),
        ]
        assert known not in {fingerprint(*other) for other in others}

    def test_paths_count_by_what_is_there(self, tmp_path):
        for name, content in (("one", "weights"), ("moved", "weights"), ("other", "more")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "model").write_text(content)
        one, moved, other = (
            fingerprint(Settings(backbone=str(tmp_path / name)))
            for name in ("one", "moved", "other")
        )
        assert one == moved != other


def checkpoints_at(folder, *steps):
    checkpoints = Checkpoints(folder)
    for step in steps:
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        for name in ("model", "optimizer", "curriculum.json"):
            (folder / f"checkpoint-{step}" / name).write_text(f"{name} at {step}")
        checkpoints.seal(step)
    return checkpoints


class TestFolders:
    def test_two_are_kept_by_their_step_whatever_the_clock_says(self, tmp_path):
        checkpoints = checkpoints_at(tmp_path, 2, 4)
        os.utime(tmp_path / "checkpoint-4", (0, 0))
        checkpoints_at(tmp_path, 10)
        assert sorted(p.name for p in tmp_path.glob("check*")) == ["checkpoint-10", "checkpoint-4"]
        assert checkpoints.newest() == tmp_path / "checkpoint-10"

    @pytest.mark.parametrize("part", ["model", "optimizer", "curriculum.json"])
    @pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "swapped"])
    def test_the_one_before_a_damaged_one_is_used(self, tmp_path, part, damage, caplog):
        checkpoints = checkpoints_at(tmp_path, 2, 4)
        file = tmp_path / "checkpoint-4" / part
        content = file.read_bytes()
        seen = file.stat()
        if damage == "missing":
            file.unlink()
        elif damage == "swapped":
            file.write_text((tmp_path / "checkpoint-2" / part).read_text())
        else:
            damaged = {"empty": b"", "cut": content[:-1], "flipped": b"\x00" + content[1:]}
            file.write_bytes(damaged[damage])
            os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # and the clock says nothing
        with caplog.at_level(logging.WARNING):
            assert checkpoints.newest() == tmp_path / "checkpoint-2"
        assert f"{tmp_path / 'checkpoint-4'} is not what its record says" in caplog.text
        assert not (tmp_path / "checkpoint-4").exists()

    def test_one_that_was_not_finished_does_not_count(self, tmp_path, caplog):
        checkpoints = checkpoints_at(tmp_path, 2)
        (tmp_path / "checkpoint-4").mkdir()
        (tmp_path / "checkpoint-4/trainer_state.json").write_text('{"glob')
        assert checkpoints.newest() == tmp_path / "checkpoint-2"
        assert "checkpoint-4 has no record" in caplog.text

    def test_they_are_removed_when_the_results_are_on_the_disk_and_not_before(self, tmp_path):
        checkpoints = checkpoints_at(tmp_path / "f", 2)
        checkpoints.finish()
        assert checkpoints.newest() is not None
        remove_finished()
        assert not (tmp_path / "f").exists()


def count_up(epochs, at=None):
    """A training whose state is how often it was called, and that is interrupted at an epoch."""

    def fit(state, keep):
        epoch = state["epoch"] if state else 0
        seen = list(state["seen"]) if state else []
        while epoch < epochs:
            epoch += 1
            seen.append(epoch)
            if epoch == at:
                os.kill(os.getpid(), signal.SIGTERM)
            keep({"epoch": epoch, "seen": seen, "weights": torch.full((3,), epoch)})
        return seen

    return fit


class TestEpochs:
    def test_a_request_to_stop_writes_a_checkpoint_and_says_how_to_continue(self, tmp_path):
        with pytest.raises(TrainingInterrupted, match="to continue from epoch 3 of 6"):
            fit_or_resume(count_up(6, at=3), tmp_path, 6)
        assert fit_or_resume(count_up(6), tmp_path, 6) == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("damage", [b"", b"not a checkpoint"])
    def test_a_damaged_one_is_not_used(self, tmp_path, damage):
        with pytest.raises(TrainingInterrupted):
            fit_or_resume(count_up(6, at=3), tmp_path, 6)
        (tmp_path / "checkpoint-3.pt").write_bytes(damage)
        starts = []

        def fit(state, keep):
            starts.append(state["epoch"])
            return count_up(6)(state, keep)

        assert fit_or_resume(fit, tmp_path, 6) == [1, 2, 3, 4, 5, 6] and starts == [2]


def test_a_second_signal_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    with StopRequest("finishing") as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_checkpoint_is_read_without_pickle(tmp_path):
    checkpoints = Checkpoints(tmp_path, ".pt")
    checkpoints.keep(1, {"epoch": 1, "weights": torch.ones(2), "history": [{"loss": 0.5}]})
    state = checkpoints.load(checkpoints.newest())
    assert state["history"] == [{"loss": 0.5}] and json.dumps(state["epoch"]) == "1"
