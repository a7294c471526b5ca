"""The comparison pipeline as it is run: from an experiment's list of cells to its page."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from rerec_pipeline.errors import MissingStageError
from tests.pipelines import fabricated
from tests.pipelines.conftest import run

FOLDER = Path("data/08_reporting/experiments/beside")
QUICK = {"comparison": {"bootstrap_samples": 200, "permutations": 199}}


@pytest.fixture(scope="module")
def compared(finished) -> Path:
    """The project with a finished run of its own, compared with a fabricated variant."""
    run_of = Path("data/07_model_output/sample_book/tiny/rerec/seed-0")
    asked = pd.read_parquet(finished / run_of / "outcomes.parquet")
    listed = fabricated.write(finished, [{"variant": "made_up", "seed": 0}], "beside")
    own = finished / "data/07_model_output/sample_book/tiny/made_up/seed-0/outcomes.parquet"
    asked.assign(correct=True).to_parquet(own)
    experiment = json.loads(listed.read_text())
    real = {"variant": "rerec", "run": "sample_book/tiny/rerec/seed-0"}
    experiment["cells"].append({**experiment["cells"][0], **real})
    listed.write_text(json.dumps(experiment))
    run(finished, "comparison", experiment="beside", **QUICK)
    return finished


def test_a_real_run_is_read_as_its_report_has_it(compared, metrics):
    table = pd.read_parquet(compared / FOLDER / "comparison.parquet")
    rows = table.set_index(["variant", "query_type"])
    for name, stage in (("rerec", "after"), ("untrained", "before")):
        assert rows.loc[(name, "all"), "accuracy"] == metrics[stage]["accuracy"]
        for kind, of_type in metrics[stage]["by_type"].items():
            assert rows.loc[(name, kind), "accuracy"] == pytest.approx(of_type["accuracy"])
        confirmed = metrics[stage]["faithfulness"]["facts_confirmed"]
        assert rows.loc[(name, "all"), "facts_confirmed"] == pytest.approx(confirmed)
    assert rows.loc[("made_up", "all"), "finding"] == "better"
    report = json.loads((compared / FOLDER / "comparison.json").read_text())
    cost = {entry["variant"]: entry for entry in report["cost"]}["rerec"]
    assert cost["rollouts"] == metrics["training"]["rollouts"]
    assert report["baselines"]["random"]["all"] > 0


def test_raw_files_that_are_not_read_are_not_checked(compared):
    """An experiment with a raw_dir of its own is compared without it."""
    manifest = compared / "data/01_raw/sample_book/.records/manifest.json.json"
    before = manifest.read_bytes()
    record = json.loads(before)
    record["origin"]["parameters"]["raw_dir"] = "elsewhere"
    manifest.write_text(json.dumps(record))
    try:
        with pytest.raises(MissingStageError, match="raw_dir was"):
            run(compared, "evaluation")
        run(compared, "comparison", experiment="beside", **QUICK)
    finally:
        manifest.write_bytes(before)


def test_everything_is_an_artifact(compared):
    client = mlflow.MlflowClient(f"sqlite:///{compared}/mlflow.db")
    experiment = client.get_experiment_by_name("rerec-utilities")
    runs = client.search_runs([experiment.experiment_id])
    latest = next(r for r in runs if r.info.run_name.startswith("comparison"))
    files = {
        Path(entry.path).name
        for folder in ("reports", "plots")
        for entry in client.list_artifacts(latest.info.run_id, folder)
    }
    plots = ("accuracy", "differences", "faithfulness", "learning", "sensitivity")
    assert files == {
        "comparison.parquet", "comparison.json", "comparison.html",
        *(f"{name}_plot.json" for name in plots),
        *(f"comparison_{name}_plot.html" for name in plots),
    }  # fmt: skip
    page = (compared / FOLDER / "comparison.html").read_text()
    assert "<h1>Variants compared: beside</h1>" in page and "made_up" in page


def test_an_experiment_that_was_not_run_is_named(finished):
    with pytest.raises(MissingStageError, match="experiments/nobodys/cells.json"):
        run(finished, "comparison", experiment="nobodys", **QUICK)
