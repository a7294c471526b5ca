"""Kedro in one process, fine-tuning and answering in two ranks: what a run without leaves, too."""

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.hooks.provenance import check_no_launcher
from tests.pipelines.conftest import run

RUN = Path("sample_book/tiny/rerec/seed-0")
TWO = {"preset": "ddp", "processes": 2}


@pytest.fixture(scope="module")
def launched(finished, tmp_path_factory):
    """A copy of a project in which everything has run, and again with two ranks."""
    project = tmp_path_factory.mktemp("launched") / "project"
    shutil.copytree(finished, project)
    for pipeline in ("rft", "evaluation"):
        run(project, pipeline, label="two", launch=TWO)
    return project


@pytest.mark.slow
class TestTwoRanks:
    def test_they_train_the_same(self, launched):
        folder = launched / "data/07_model_output" / RUN
        one, two = (
            pd.read_parquet(place / "training_log.parquet") for place in (folder, folder / "two")
        )
        for name in ("loss", "reward", "accuracy", "curriculum/batch_difficulty"):
            expected = pytest.approx(one[name].tolist(), rel=1e-5, abs=1e-7)
            assert two[name].tolist() == expected, name
        summaries = [
            json.loads((place / "training_summary.json").read_text())
            for place in (folder, folder / "two")
        ]
        for name in ("rollouts", "tokens", "token_passes"):
            assert summaries[0][name] == summaries[1][name]

    def test_they_answer_the_same(self, launched):
        folder = launched / "data/07_model_output" / RUN
        for name in ("answers_before.parquet", "answers_after.parquet"):
            places = sorted(folder.parents[1].rglob(name))
            tables = [pd.read_parquet(place)["completion"].tolist() for place in places]
            assert all(table == tables[0] for table in tables), name

    def test_nothing_is_left_behind(self, launched):
        assert not list((launched / "data").rglob("*.partial-*"))
        assert not any((launched / "data/06_models" / RUN / "two/checkpoints").glob("*"))
        assert not [*(launched / "data").glob(".jobs/*")]

    def test_mlflow_knows_one_run_of_the_training(self, launched):
        client = mlflow.MlflowClient(f"sqlite:///{launched}/mlflow.db")
        experiment = client.get_experiment_by_name("rerec").experiment_id
        (found,) = client.search_runs(
            [experiment], "params.`rft.budget.rollouts` = '640' and tags.label = 'two'"
        )[-1:]
        history = client.get_metric_history(found.info.run_id, "rft/reward")
        log = pd.read_parquet(launched / "data/07_model_output" / RUN / "two/training_log.parquet")
        assert [m.step for m in history] == list(range(1, 11))
        assert [m.value for m in history] == log["reward"].tolist()


def test_kedro_under_a_launcher_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadParameterError, match=r"launch.preset=ddp,launch.processes=2"):
        check_no_launcher()
