"""Two runs that would mix up their outputs do not run at once; all others do."""

import os
import signal
import time
from contextlib import suppress

import pytest

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.storage.lock import READ, Claims, exclusive

DATA = {"sample_book": "made with seed 0"}


@pytest.fixture
def other(tmp_path):
    """Starts a process that claims places; gives its id."""
    started = []

    def start(places):
        ready, says = os.pipe()
        if (pid := os.fork()) == 0:
            claims = Claims(tmp_path / "runs")
            claims.take(places)
            os.write(says, b"x")
            time.sleep(600)
        os.read(ready, 1)
        started.append(pid)
        return pid

    yield start
    for pid in started:
        with suppress(ProcessLookupError, ChildProcessError):  # a test has ended it
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_the_second_with_the_same_outputs_is_told_of_the_first(other, tmp_path):
    pid = other({"sample_book/tiny/rerec/seed-0": exclusive(), **DATA})
    with pytest.raises(ReRecError, match=rf"process {pid} .*, running since 20.*seed-0: two runs"):
        Claims(tmp_path / "runs").take({"sample_book/tiny/rerec/seed-0": exclusive(), **DATA})


def test_runs_that_share_the_same_data_get_on(other, tmp_path):
    other({"sample_book/tiny/rerec/seed-0": exclusive(), **DATA})
    other({"sample_book/tiny/grpo/seed-0": exclusive(), **DATA})
    claims = Claims(tmp_path / "runs")
    claims.take({"sample_book/tiny/sft/seed-0": exclusive(), **DATA})
    claims.release()


def test_not_with_other_data_in_the_same_place(other, tmp_path):
    other({"sample_book/tiny/rerec/seed-0": exclusive(), **DATA})
    with pytest.raises(ReRecError, match="works in sample_book: "):
        Claims(tmp_path / "runs").take({"sample_book": "made with seed 1"})


def test_what_only_one_makes_in_a_folder_is_no_reason(other, tmp_path):
    other({"sample_book": {"items": "a", "prompts": "b"}})
    claims = Claims(tmp_path / "runs")
    claims.take({"sample_book": {"items": "a", "lightgcn": "c"}, "sample_book+evidence-2": {}})
    claims.release()
    for made in ({"items": "x"}, {"items": "a", "prompts": "x"}, READ, exclusive()):
        with pytest.raises(ReRecError, match="works in sample_book: "):
            Claims(tmp_path / "runs").take({"sample_book": made})


def test_nobody_writes_what_another_reads(other, tmp_path):
    other({"seed-0": READ})
    Claims(tmp_path / "runs").take({"seed-0": READ})
    with pytest.raises(ReRecError):
        Claims(tmp_path / "runs").take({"seed-0": exclusive()})


def test_the_dead_hold_nothing_and_leave_nothing(other, tmp_path):
    pid = other({"seed-0": exclusive()})
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    claims = Claims(tmp_path / "runs")
    claims.take({"seed-0": exclusive()})
    assert not list((tmp_path / "runs").glob(f"{pid}-*"))
    claims.release()
    claims.release()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["all.lock"]
