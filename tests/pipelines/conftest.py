"""A copy of the project in which real runs leave their files."""

import json
import os
import shutil
from pathlib import Path

import mlflow
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from rerec_pipeline.storage.records import record_path

PROJECT = Path(__file__).parents[2]

#: A run of the small built-in world that is short but does everything a long one does.
SHORT = {
    "dataset": "sample_book",
    "label": "",  # else its folders would be named by what follows
    "data_label": "",
    "prompt_label": "",
    "rft": {"budget": {"rollouts": 640}, "checkpoint_every": 4},
    "lightgcn": {"epochs": 30},
    "evaluation": {"bootstrap_samples": 200},
}


def copy_project(target: Path) -> Path:
    """The project as a fresh clone has it: without data, runs and local settings."""
    shutil.copytree(PROJECT / "conf", target / "conf", ignore=shutil.ignore_patterns("local"))
    (target / "conf" / "local").mkdir()
    base_policy = Path("data/06_models/base_policy")
    shutil.copytree(PROJECT / base_policy, target / base_policy)
    record = record_path(base_policy)
    (target / record).parent.mkdir()
    shutil.copy(PROJECT / record, target / record)
    shutil.copy(PROJECT / "pyproject.toml", target)
    shutil.copy(PROJECT / ".telemetry", target)
    shutil.copytree(PROJECT / "src", target / "src", ignore=shutil.ignore_patterns("*.pyc"))
    return target


def run(project: Path, pipeline: str = "__default__", only_missing: bool = False, **changes):
    """What ``kedro run --pipelines NAME --params ...`` does, in this process."""
    bootstrap_project(project)
    with KedroSession.create(project, runtime_params={**SHORT, **changes}) as session:
        return session.run(pipeline_names=[pipeline], only_missing_outputs=only_missing)


@pytest.fixture(scope="session", autouse=True)
def _mlflow_restored():
    """Runs point MLflow at their project's store, in the environment, too."""
    uri, environment = mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    yield
    mlflow.set_tracking_uri(uri)
    if environment is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A project in which ``rft`` (with its upstream) and then ``evaluation`` have run."""
    project = copy_project(tmp_path_factory.mktemp("clone") / "project")
    run(project, "rft")
    run(project, "evaluation")
    return project


@pytest.fixture(scope="session")
def metrics(finished) -> dict:
    return json.loads((finished / "data/08_reporting/metrics.json").read_text())
