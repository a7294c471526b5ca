"""Other abilities of a finished run, before and after, by whole runs of the pipelines."""

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from rerec_pipeline.errors import MissingStageError
from rerec_pipeline.recbench.heldout import held_out_pairs
from tests.pipelines.conftest import run

RUN = Path("sample_book/tiny/rerec/seed-0")
FEW = {"abilities": {"questions": {"size": 24}}}


@pytest.fixture(scope="module")
def asked(finished) -> Path:
    run(finished, "abilities", **FEW)
    return finished


@pytest.fixture(scope="module")
def report(asked) -> dict:
    return json.loads((asked / "data/08_reporting" / RUN / "abilities.json").read_text())


def test_before_and_after_on_every_task(report):
    assert {task: list(metrics) for task, metrics in report["tasks"].items()} == {
        "sample_knowledge": ["acc"],
        "sample_instructions": ["followed"],
        "sample_reasoning": ["exact_match/verdict"],
    }
    for metrics in report["tasks"].values():
        for row in metrics.values():
            low, high = row["interval"]
            assert row["n"] == 24 and low <= row["change"] <= high
            assert row["change"] == pytest.approx(row["after"] - row["before"])
    # The shipped base policy knows this world, and chance is 0.25, 0 and 0.5.
    assert report["tasks"]["sample_knowledge"]["acc"]["before"] > 0.8
    assert report["tasks"]["sample_instructions"]["followed"]["before"] > 0.8
    assert report["tasks"]["sample_reasoning"]["exact_match/verdict"]["before"] > 0.7


def test_verdicts_are_asked_on_pairs_of_the_test_split(asked):
    data = asked / "data"
    prompts, queries, items = (
        pd.read_parquet(data / place / "sample_book" / f"{name}.parquet")
        for place, name in (
            ("05_model_input", "prompts"), ("02_intermediate", "queries"),
            ("02_intermediate", "items"),
        )
    )  # fmt: skip
    titles = dict(zip(items["item_id"], items["title"], strict=True))
    test = {titles[item] for _, item in held_out_pairs(prompts, queries, items, ["test"])}
    questions = json.loads((data / "05_model_input/sample_book/ability_questions.json").read_text())
    fitting = [q for q in questions["sample_reasoning"] if q["verdict"] == "Fits."]
    assert fitting and {q["question"].split("\n")[1] for q in fitting} <= test


def test_mlflow_has_numbers_report_and_plot(asked, report):
    runs = mlflow.MlflowClient(f"sqlite:///{asked}/mlflow.db")
    latest = mlflow.last_active_run()
    assert latest.info.run_name.startswith("rerec seed 0 abilities")
    row = report["tasks"]["sample_knowledge"]["acc"]
    assert latest.data.metrics["abilities/tasks/sample_knowledge/acc/after"] == row["after"]
    assert "abilities/tasks/sample_reasoning/exact_match/verdict/change" in latest.data.metrics
    kept = {
        entry.path
        for place in ("reports", "plots")
        for entry in runs.list_artifacts(latest.info.run_id, place)
    }
    assert {"reports/abilities.json", "plots/abilities_plot.json"} <= kept


class TestComparison:
    def test_runs_stand_beside_each_other(self, asked, report, caplog):
        other = asked / "data/08_reporting/sample_book/tiny/sft/seed-3/abilities.json"
        other.parent.mkdir(parents=True)
        shutil.copy(asked / "data/08_reporting" / RUN / "abilities.json", other)
        text = other.read_text().replace('"variant": "rerec"', '"variant": "sft"')
        other.write_text(text)
        run(asked, "abilities_comparison", **FEW)
        table = pd.read_parquet(asked / "data/08_reporting/sample_book/tiny/abilities.parquet")
        assert table["run"].tolist() == ["rerec/seed-0", "sft/seed-3"] * 3
        assert table["variant"].tolist() == ["rerec", "sft"] * 3
        assert table["task"].unique().tolist() == list(report["tasks"])
        other.unlink()

    def test_no_report_says_what_makes_one(self, asked):
        with pytest.raises(MissingStageError, match="kedro run --pipelines abilities --params"):
            run(asked, "abilities_comparison", abilities={"questions": {"size": 25}})
