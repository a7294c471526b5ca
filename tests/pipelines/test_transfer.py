"""A policy trained on one built-in world, tested on the other, by whole runs."""

import json
import shlex
import shutil

import mlflow
import pandas as pd
import pytest

from rerec_pipeline.errors import BadParameterError, MissingStageError
from rerec_pipeline.pipeline_registry import register_pipelines
from rerec_pipeline.recbench.heldout import split_fingerprint
from tests.pipelines.conftest import copy_project, run
from tests.pipelines.test_real_backbones import settings
from tests.training.real_backbones import make_backbone

FOLDER = "sample_book/tiny/rerec/seed-0/transfer/sample_movie"
#: Enough to rank items; its quality is of no account here.
QUICK = {"lightgcn": {"epochs": 30}, "target": "sample_movie"}


@pytest.fixture(scope="module")
def tested(finished):
    """The finished project after its policy was tested on films, and the log of that run."""
    before = (finished / "data/08_reporting/metrics.json").read_text()
    run(finished, "transfer", **QUICK)
    assert (finished / "data/08_reporting/metrics.json").read_text() == before
    return finished


def test_the_report_names_both_data_sets_and_is_about_the_targets_test_split(tested, metrics):
    report = json.loads((tested / "data/08_reporting" / FOLDER / "metrics.json").read_text())
    prompts = pd.read_parquet(tested / "data/05_model_input/sample_movie/prompts.parquet")
    test = prompts.query("split == 'test'")
    assert report["run"] == {**metrics["run"], "target": "sample_movie"}
    assert report["before"]["n"] == report["after"]["n"] == len(test)
    assert set(report["after"]["by_type"]) == set(test["query_type"])
    assert set(report["baselines"]) == {"random", "popularity", "lightgcn", "graph"}
    assert report["training"] == metrics["training"]
    low, high = report["after"]["interval"]
    assert low <= report["after"]["accuracy"] <= high
    answers = pd.read_parquet(tested / "data/07_model_output" / FOLDER / "answers_after.parquet")
    assert set(answers["query_id"]) == set(test["query_id"])


def test_the_backbone_held_out_the_queries_that_are_asked(tested):
    prompts = pd.read_parquet(tested / "data/05_model_input/sample_movie/prompts.parquet")
    record = json.loads((tested / "data/06_models/base_policy/made_by.json").read_text())
    assert record["splits"]["sample_movie"] == split_fingerprint(prompts)


def test_mlflow_tells_it_from_other_runs(tested):
    latest = mlflow.last_active_run()
    tags = {key: latest.data.tags[key] for key in ("dataset", "target")}
    assert tags == {"dataset": "sample_book", "target": "sample_movie"}
    assert latest.info.run_name == "rerec seed 0 transfer · sample_book tiny"
    assert "transfer/after/accuracy" in latest.data.metrics
    assert not [name for name in latest.data.metrics if name.startswith("test/")]


def test_what_it_made_of_the_target_is_what_the_targets_own_runs_make(tested):
    """The stamps agree: a run on the target takes its tables as they are."""
    run(tested, "export_prompts", dataset="sample_movie")


def test_the_backbones_record_is_checked_against_the_targets_splits():
    """What the node does with it is tested with the backbone (``check_pretraining``)."""
    node = next(
        node
        for node in register_pipelines()["transfer"].nodes
        if node.name == "transfer.select_evaluation_prompts"
    )
    inherited = ["trained_backbone_record", "params:rft.backbone", "params:rft.generation"]
    asked = [
        "arranged_prompts",
        "task",
        *inherited,
        "params:target",
        "params:split",
        "params:evaluation",
    ]
    assert node.inputs == asked


def test_published_files_of_books_and_of_films(tmp_path):
    """The real blocks, on the files that the built-in worlds leave, with a small random model."""
    project = copy_project(tmp_path / "project")
    few = {"explicit": 20, "implicit": 20, "misinformed": 20, "interest": 20}
    for domain, further in (("movie", {"demographics": 20}), ("book", {})):
        world = {"items": 60, "queries": {**few, **further}}
        run(project, "data_engineering", dataset=f"sample_{domain}", data={"world": world})
        made = project / f"data/01_raw/sample_{domain}/dataset/{domain}"
        shutil.copytree(made, tmp_path / f"raw/dataset/{domain}")
    chosen = {
        "dataset": "recbench_book",
        "backbone": "qwen2.5-3b",
        "raw_dir": str(tmp_path / "raw"),
        "rft": settings(make_backbone("qwen2.5", tmp_path / "model", ["Candidates: The Request"])),
        "lightgcn": {"epochs": 2},
        "evaluation": {"bootstrap_samples": 200, "batch_size": 32},
    }
    run(project, "rft", **chosen)
    run(project, "transfer", **chosen, target="recbench_movie")
    folder = "recbench_book/qwen2.5-3b/rerec/seed-0/transfer/recbench_movie"
    report = json.loads((project / "data/08_reporting" / folder / "metrics.json").read_text())
    assert report["run"]["target"] == "recbench_movie"
    prompts = pd.read_parquet(project / "data/05_model_input/recbench_movie/prompts.parquet")
    assert report["after"]["n"] == (prompts["split"] == "test").sum()
    assert "demographics" in report["after"]["by_type"]  # of films alone
    assert report["training"]["rollouts"] == 24


def test_a_policy_that_was_trained_otherwise_is_not_taken(tested):
    changed = {"budget": {"rollouts": 640}, "checkpoint_every": 4, "optimizer": {"lr": 1.0e-6}}
    with pytest.raises(MissingStageError, match=r"rft.optimizer.lr was 0.0004, is 1e-06"):
        run(tested, "transfer", **QUICK, rft=changed)


def test_on_a_fresh_clone_it_says_how_the_policy_is_trained(tmp_path):
    with pytest.raises(MissingStageError) as error:
        run(copy_project(tmp_path / "project"), "transfer", **QUICK)
    command = shlex.split(str(error.value).partition("Make it with: ")[2])
    assert command[:5] == ["kedro", "run", "--pipelines", "rft", "--params"]
    assert command[5].startswith("dataset=sample_book,")
    assert "target" not in str(error.value)


@pytest.mark.parametrize(
    ("pipeline", "target", "said"),
    [
        ("transfer", None, "name it with --params target=NAME"),
        ("transfer", "sample_book", "the data set that the policy was trained on"),
        ("transfer", "nonsense", "target=nonsense names no block"),
        ("rft", "sample_movie", "target is of the transfer pipeline alone"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(tmp_path, pipeline, target, said):
    with pytest.raises(BadParameterError, match=said):
        run(copy_project(tmp_path / "project"), pipeline, target=target)
