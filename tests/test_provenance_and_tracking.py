"""Stale outputs are noticed; MLflow is told numbers, flat and in few writes."""

import math
from types import SimpleNamespace

import mlflow
import pytest
from kedro.pipeline import Node, Pipeline

from rerec_pipeline.configs import Config
from rerec_pipeline.storage import provenance
from rerec_pipeline.storage.records import Origin, outdated
from rerec_pipeline.tracking import (
    MlflowStepLogger,
    RunNote,
    add_to_group,
    comparison_link,
    flat_numbers,
    git_commit,
)
from rerec_pipeline.tracking.store import shown_at
from rerec_pipeline.tracking.tracker import Tracker


@pytest.fixture
def mlflow_store(tmp_path, monkeypatch):
    """A store of its own; MLflow keeps its address in the environment, too."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.create_experiment("test", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("test")
    yield
    mlflow.end_run()
    mlflow.set_tracking_uri(before)


def same(*values):
    return values[0]


PIPELINE = Pipeline(
    [
        Node(same, ["raw", "params:data.split"], "table", name="make_table"),
        Node(same, ["table", "params:lightgcn"], "embeddings", name="embed"),
        Node(same, ["table", "params:rft"], "policy", name="tune"),
    ]
)


class Block(Config):
    w_penalty: float
    scale: str


class TestProvenance:
    def test_only_what_is_on_the_way_counts(self):
        assert provenance.parameters_behind(PIPELINE, "embeddings") == {"data.split", "lightgcn"}
        assert provenance.parameters_behind(PIPELINE, "table") == {"data.split"}

    def test_stamps_are_flat_and_free_of_the_project_folder(self, tmp_path):
        parameters = {
            "rft": Block(w_penalty=0.3, scale="group"),
            "x": {"dir": f"{tmp_path}/a"},
        }
        stamp = provenance.make_stamp({"rft", "x.dir"}, parameters, tmp_path)
        assert stamp == {"rft.w_penalty": 0.3, "rft.scale": "group", "x.dir": "./a"}

    @pytest.mark.parametrize(
        "name", ["fixed.splits", "rft.sft.traces", "rft.cold_start.traces", "rft.reward.data.seen"]
    )
    def test_a_file_of_the_user_counts_by_its_content(self, tmp_path, name):
        file = tmp_path / "own.csv"

        def stamp():
            nested = str(file)
            for part in reversed(name.split(".")):
                nested = {part: nested}
            return Origin(provenance.make_stamp({name.split(".")[0]}, nested, tmp_path), {}, {})

        file.write_text("a")
        made = stamp()
        assert made.parameters == {name: "./own.csv (ca978112ca1b)"}  # SHA-256 of "a"
        assert outdated(made, stamp()) == ""
        file.write_text("bc")
        said = outdated(made, stamp())
        assert said.startswith(f"was made with other parameters: {name} was './own.csv (ca978112")
        file.unlink()
        assert stamp().parameters == {name: "./own.csv"}

    def test_parameters_are_told_to_mlflow_as_plain_values_without_the_project_folder(
        self, tmp_path
    ):
        config = Block(w_penalty=0.3, scale="group")
        told = provenance.plain({"config": config, "dir": f"{tmp_path}/a", "n": [1]}, tmp_path)
        assert told == {"config": {"w_penalty": 0.3, "scale": "group"}, "dir": "./a", "n": [1]}


class TestTracking:
    def test_flat_numbers(self):
        report = {"recall@20": 0.5, "by_type": {"a b": {"n": 3}}, "interval": [0, 1], "none": None,
                  "nan": math.nan}  # fmt: skip
        assert flat_numbers(report, "test") == {"test/recall_at_20": 0.5, "test/by_type/a b/n": 3.0}

    def test_flat_parameters(self):
        nested = {"rft": {"reward": {"k": 1}, "algorithm": "grpo"}, "seed": 0}
        assert provenance.flatten(nested) == {"rft.reward.k": 1, "rft.algorithm": "grpo", "seed": 0}

    def test_every_step_is_logged_once(self, monkeypatch):
        told: list[tuple] = []
        monkeypatch.setattr(Tracker, "current", SimpleNamespace(metrics=told.extend))
        logger = MlflowStepLogger("rft")
        for step in range(1, 301):
            state = SimpleNamespace(global_step=step, is_world_process_zero=True)
            logs = {"loss": 1 / step, "text": "x", "nan": math.nan, "k": 2}
            logger.on_log(None, state, None, logs)
        logger.on_train_end(None, state, None)
        assert [(s, v) for name, v, _, s in told if name == "rft/loss"] == [
            (n, 1 / n) for n in range(1, 301)
        ]
        assert {name for name, *_ in told} == {"rft/loss", "rft/k"}

    def test_a_cell_is_one_run_of_its_experiment(self, mlflow_store, tmp_path, monkeypatch):
        note = RunNote("ablation", "grpo, seed 0", tmp_path / "cell/id.txt")
        monkeypatch.setenv(*note.as_environment().popitem())
        assert RunNote.from_environment() == note and note.find_begun() is None
        with mlflow.start_run() as first:
            note.tag_active_run()
        begun = note.find_begun()
        assert begun == first.info.run_id  # what an interrupted cell goes on with
        note.id_file.write_text("of another store")
        assert note.find_begun() is None
        with mlflow.start_run() as second:
            RunNote("ablation", "grpo, seed 0", note.id_file, begun).tag_active_run()
        client, now = mlflow.MlflowClient(), second.info.run_id
        groups = [client.get_run(run).data.tags["experiment_group"] for run in (begun, now)]
        assert groups == ["", "ablation"]  # the run that was replaced has left
        for group in ("evidence", "ablation"):
            add_to_group(client, now, group)
        assert client.get_run(now).data.tags["experiment_group"] == "ablation,evidence"
        add_to_group(client, "of another store", "evidence")
        assert comparison_link(client, ["of another store"]) is None
        assert comparison_link(client, [begun, now]) == (
            f"http://127.0.0.1:5000/#/compare-runs?runs=%5B%22{begun}%22%2C%22{now}%22%5D"
            "&experiments=%5B%221%22%5D (after: make ui)"
        )

    @pytest.mark.parametrize(
        ("uri", "address"),
        [
            ("sqlite:////there/mlflow.db", "http://127.0.0.1:5000/#/runs (after: make ui)"),
            ("postgresql://me:secret@db/mlflow", "http://127.0.0.1:5000/#/runs (after: make ui)"),
            ("https://me:secret@mlflow.example/team/", "https://mlflow.example/team/#/runs"),
        ],
    )
    def test_pages_are_where_the_store_is(self, uri, address):
        assert shown_at(uri, "#/runs") == address

    def test_outside_of_an_experiment_there_is_no_note(self, monkeypatch):
        monkeypatch.delenv("REREC_CELL", raising=False)
        assert RunNote.from_environment() is None

    def test_without_a_run_nothing_is_started(self, mlflow_store):
        logger = MlflowStepLogger("rft")
        state = SimpleNamespace(global_step=1, is_world_process_zero=True)
        logger.on_log(None, state, None, {"loss": 1.0})
        logger.on_train_end(None, state, None)
        assert mlflow.active_run() is None

    def test_code_outside_a_repository_has_no_commit(self, tmp_path):
        assert git_commit(tmp_path) == "unknown"
