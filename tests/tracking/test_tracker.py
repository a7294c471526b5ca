"""MLflow down, slow, full or killed: a run goes on, and MLflow is told later."""

import json
import logging
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from rerec_pipeline.hooks.tracked_run import headlines, run_name
from rerec_pipeline.storage import provenance
from rerec_pipeline.tracking import store, tracker
from rerec_pipeline.tracking.journal import Journal
from rerec_pipeline.tracking.tracker import Tracker

NAME = "rerec"


class Switch:
    """A connection that can be cut: to a real store, or to nothing."""

    def __init__(self, root: Path):
        self.root, self.uri, self.up, self.asked = root, f"sqlite:///{root}/mlflow.db", True, 0

    def __call__(self) -> store.Store:
        if not self.up:
            raise MlflowException("http://me:secret@host did not answer")
        mlflow.set_tracking_uri(self.uri)
        made = store.connect(self.uri, NAME, str(self.root / "artifacts"))
        real, switch = made.client, self

        class Client:
            def __getattr__(self, name):
                if not switch.up:
                    raise ConnectionError("http://me:secret@host is gone")
                switch.asked += 1
                return getattr(real, name)

        return store.Store(Client(), made.uri, made.experiments)

    def runs(self):
        client = mlflow.MlflowClient(self.uri)
        ids = [client.get_experiment_by_name(NAME).experiment_id]
        return client.search_runs(ids, order_by=["attributes.start_time ASC"])


@pytest.fixture
def switch(tmp_path, monkeypatch):
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    yield Switch(tmp_path)
    if Tracker.current is not None:
        Tracker.current.end("KILLED")
    mlflow.set_tracking_uri(before)


def begin(switch, key="a", run_id=None) -> Tracker:
    made = Tracker(switch, switch.root / ".tracking", key, switch.uri)
    made.begin(NAME, f"run {key}", {"variant": "rerec"}, run_id)
    return made


def tell(run: Tracker, output: Path, step: int) -> None:
    """A bit of everything, twice."""
    run.params({"rft.lr": 0.1, "server": "http://me:secret@host/v1"})
    run.metrics([("rft/loss", 1 / step, 1000 * step, step)])
    run.metrics({"accuracy": 0.5})
    output.write_text(f"report {step}")
    run.artifact(output, "reports")
    run.dataset("sample", "0123456789", "{}", "training")


def check(found, client, steps) -> None:
    assert found.data.params == {"rft.lr": "0.1", "server": "http://host/v1"}
    assert found.data.tags["variant"] == "rerec" and found.data.metrics["accuracy"] == 0.5
    history = client.get_metric_history(found.info.run_id, "rft/loss")
    assert [m.step for m in history] == steps
    [entry] = client.list_artifacts(found.info.run_id, "reports")
    file = client.download_artifacts(found.info.run_id, entry.path)
    assert Path(file).read_text() == f"report {steps[-1]}"
    assert [d.dataset.name for d in found.inputs.dataset_inputs] == ["sample"]


def test_a_run_that_mlflow_takes_leaves_nothing_behind(switch, tmp_path):
    run = begin(switch)
    tell(run, tmp_path / "r.json", 1)
    assert mlflow.active_run().info.run_id == run.run_id
    run.end("FINISHED")
    [found] = switch.runs()
    assert found.info.status == "FINISHED" and found.info.run_name == "run a"
    check(found, mlflow.MlflowClient(switch.uri), [1])
    assert mlflow.active_run() is None and not [*(tmp_path / ".tracking").glob("*")]
    assert Tracker.last is run
    assert run.address.endswith(f"/runs/{run.run_id}/model-metrics (after: make ui)")


def test_a_store_that_dies_in_mid_run_is_told_the_rest_by_the_next_run(switch, tmp_path, caplog):
    run = begin(switch)
    tell(run, tmp_path / "r.json", 1)
    switch.up = False
    tell(run, tmp_path / "r.json", 2)
    (tmp_path / "r.json").unlink()
    (tmp_path / "r.json").write_text("of a later run")  # outputs are replaced, not changed
    run.end("FINISHED")
    assert "could not be told" in caplog.text and "secret" not in caplog.text
    kept = Journal(tmp_path / ".tracking" / "a")
    assert len(kept) == 6
    switch.up = True
    kept.own()
    left_by_a_dead_process(kept)
    begin(switch, "b").end("FINISHED")
    first, second = switch.runs()
    assert first.info.status == second.info.status == "FINISHED"
    check(first, mlflow.MlflowClient(switch.uri), [1, 2])
    assert not [*(tmp_path / ".tracking").glob("*")]


def left_by_a_dead_process(journal: Journal) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    state = json.loads((journal.folder / "run.json").read_text())
    (journal.folder / "run.json").write_text(json.dumps({**state, "pid": done.pid}))


def test_a_store_that_is_down_at_first_and_back_at_the_end(switch, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    switch.up = False
    run = begin(switch)
    tell(run, tmp_path / "r.json", 1)
    assert run.run_id is None and mlflow.active_run() is None and run.address is None
    switch.up = True
    run.end("FINISHED")
    [found] = switch.runs()
    assert found.info.status == "FINISHED" and "after all" in caplog.text
    check(found, mlflow.MlflowClient(switch.uri), [1])


def test_a_slow_store_is_not_asked_until_the_end(switch, tmp_path, monkeypatch):
    run = begin(switch)
    monkeypatch.setattr(tracker, "SLOW", -1.0)
    run.metrics({"x": 1.0})
    asked = switch.asked
    tell(run, tmp_path / "r.json", 1)
    assert switch.asked == asked
    run.end("FINISHED")
    [found] = switch.runs()
    assert found.data.metrics["x"] == 1.0
    check(found, mlflow.MlflowClient(switch.uri), [1])


def test_a_full_disk_does_not_end_the_run(switch, tmp_path, monkeypatch, caplog):
    switch.up = False
    run = begin(switch)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "add", full)
    run.metrics({"x": 1.0})
    run.end("FAILED")
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_the_same_command_continues_its_run(switch, tmp_path, status):
    first = begin(switch)
    first.end(status)
    assert [r.info.status for r in switch.runs()] == [status]
    again = begin(switch)
    assert again.run_id == first.run_id and switch.runs()[0].info.status == "RUNNING"
    begin(switch, "b").end("FINISHED")  # another one in the same process ends it
    assert [r.info.status for r in switch.runs()] == ["KILLED", "FINISHED"]


def test_what_a_killed_process_left_running_is_marked(switch, tmp_path):
    made = switch()
    run_id = made.client.create_run(made.experiments[NAME], run_name="run a").info.run_id
    left = Journal(tmp_path / ".tracking" / "a")
    left.own(uri=switch.uri, experiment=NAME, name="run a", run_id=run_id)
    left_by_a_dead_process(left)
    begin(switch, "b").end("FINISHED")
    assert [r.info.status for r in switch.runs()] == ["KILLED", "FINISHED"]
    again = begin(switch, "a")
    assert again.run_id == run_id
    again.end("FINISHED")


def test_a_moved_clone_continues_its_runs_and_finds_their_files(switch, tmp_path):
    """The database, the journal and the files are found from the folder that they are in now."""

    def told(root: Path, step: int) -> tuple[Switch, Tracker]:
        here = Switch(root)
        run = Tracker(here, root / ".tracking", "a", provenance.plain(here.uri, root))
        run.begin(NAME, "run a", {"variant": "rerec"})
        tell(run, root / "r.json", step)
        return here, run

    (tmp_path / "one").mkdir()
    here, run = told(tmp_path / "one", 1)
    here.up = False
    tell(run, tmp_path / "one/r.json", 2)
    run.end("KILLED")
    (tmp_path / "one").rename(tmp_path / "two")
    _artifact_repos_cache.clear()  # of this process; a command after the move is another one
    here, again = told(tmp_path / "two", 3)
    again.end("FINISHED")
    assert again.run_id == run.run_id and not (tmp_path / "one").exists()
    [found] = here.runs()
    check(found, mlflow.MlflowClient(here.uri), [1, 2, 3])
    assert found.info.status == "FINISHED" and not [*(tmp_path / "two/.tracking").glob("*")]


def test_a_wrong_request_is_left_out_and_stops_nothing(switch, tmp_path):
    run = begin(switch)
    run.params({"seed": 0})
    run.params({"seed": 1})  # MLflow refuses to change a parameter
    run.metrics({"x": 1.0})
    assert not run.problem
    run.end("FINISHED")
    assert switch.runs()[0].data.params == {"seed": "0"}


class TestDatabase:
    def test_many_processes_make_one(self, tmp_path):
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        with ThreadPoolExecutor(4) as pool:
            made = [*pool.map(lambda _: store.connect(uri, NAME, None), range(4))]
        assert len({tuple(sorted(s.experiments.items())) for s in made}) == 1
        assert set(made[0].experiments) == {NAME, f"{NAME}-utilities"}

    def test_a_kill_while_it_is_made_leaves_none(self, tmp_path):
        program = (
            "import sys\nfrom rerec_pipeline.tracking.store import connect\nprint(1, flush=True)\n"
            f"connect('sqlite:///{tmp_path}/mlflow.db', 'rerec', None)\n"
        )
        for wait in (0.02, 0.3):
            process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert store.connect(f"sqlite:///{tmp_path}/mlflow.db", NAME, None).experiments

    def test_the_environment_names_the_store(self, monkeypatch):
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert store.address("sqlite:///a.db") == "sqlite:///a.db"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
        assert store.address("sqlite:///a.db") == "http://host:5000"

    def test_no_password_is_written(self):
        assert store.without_password("at http://me:pa+ss@h:1/x, s3://k@b") == (
            "at http://h:1/x, s3://b"
        )


CHOSEN = {"dataset": "sample_book", "backbone": "tiny", "variant": "grpo", "seed": 1}


class TestNames:
    def test_what_tells_runs_apart_comes_first(self):
        assert run_name(CHOSEN, "__default__") == "grpo seed 1 · sample_book tiny"
        labelled = {**CHOSEN, "label": "qas=0.1", "split": "validation"}
        assert run_name(labelled, "evaluation") == (
            "grpo seed 1 qas=0.1 evaluation validation · sample_book tiny"
        )
        assert run_name(CHOSEN, "comparison", True) == "comparison · sample_book"
        # kedro run --to-outputs: neither a pipeline nor a training has a name to give
        assert run_name(CHOSEN, "__default__", True) == "part of a run · sample_book"

    def test_headlines(self):
        report = {
            "gain": 0.1,
            "after": {"accuracy": 0.5, "interval": [0.4, 0.6],
                      "faithfulness": {"verdicts_confirmed": None}},
            "training": {"seconds": 7},
        }  # fmt: skip
        assert headlines("metrics", report) == {
            "accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "gain": 0.1, "seconds": 7.0,
        }  # fmt: skip
        assert headlines("data_report", report) == {}
