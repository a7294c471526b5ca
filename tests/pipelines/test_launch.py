"""A run that a launcher starts twice: two processes on one machine, without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from rerec_pipeline.models.backbone import load_backbone
from tests.pipelines import launched
from tests.pipelines.conftest import SHORT, copy_project

RUN = Path("sample_book/tiny/rerec/seed-0")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """(project, what each process wrote down) of all four pipelines in two processes."""
    place = tmp_path_factory.mktemp("launch")
    project = copy_project(place / "project")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        launched.__file__, str(project), str(place), "__default__", json.dumps(SHORT),
    ]  # fmt: skip
    environment = {
        **os.environ,
        "PYTHONPATH": f"{project / 'src'}{os.pathsep}{ROOT}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return project, [json.loads((place / f"rank-{n}.json").read_text()) for n in (0, 1)]


def test_both_processes_did_the_same_to_the_same_weights(launch):
    _, (main, other) = launch
    assert main == other
    assert "rft.fine_tune" in main["nodes"] and "evaluation.report_metrics" in main["nodes"]


def test_the_saved_policy_is_the_one_that_both_trained(launch):
    project, (main, _) = launch
    policy = load_backbone(str(project / "data/06_models" / RUN / "policy"))
    assert launched.fingerprint(policy.model) == main["policy"]
    shipped = load_backbone(str(project / "data/06_models/base_policy"))
    assert launched.fingerprint(shipped.model) != main["policy"]


def test_the_budget_was_spent_once(launch):
    project, _ = launch
    folder = project / "data/07_model_output" / RUN
    assert len(pd.read_parquet(folder / "training_log.parquet")) == 10
    assert json.loads((folder / "training_summary.json").read_text())["rollouts"] == 640
    assert not list((project / "data").rglob("*.partial-*"))
    assert not any((project / "data/06_models" / RUN / "checkpoints").glob("*"))


def test_mlflow_knows_one_run(launch):
    project, _ = launch
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("rerec").experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "rft/reward")
    assert [m.step for m in history] == list(range(1, 11))
    log = pd.read_parquet(project / "data/07_model_output" / RUN / "training_log.parquet")
    assert [m.value for m in history] == log["reward"].tolist()
