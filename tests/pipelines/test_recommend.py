"""The assistant in bulk and as an MLflow model, over what a real run has left."""

import json
import subprocess
import sys

import mlflow
import pandas as pd
import pytest

from rerec_pipeline.errors import MissingStageError
from rerec_pipeline.pipelines.recommend import nodes
from rerec_pipeline.tracking.logged import load_logged
from tests.pipelines.conftest import run


@pytest.fixture(scope="module")
def asked(finished, tmp_path_factory):
    queries = pd.read_parquet(finished / "data/02_intermediate/sample_book/queries.parquet")
    rows = [{"id": row.query_id, "request": row.text, "k": 3} for row in queries[:40].itertuples()]
    path = tmp_path_factory.mktemp("bulk") / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path, rows


def test_every_request_gets_items_of_the_catalogue(finished, asked, monkeypatch, tmp_path):
    path, rows = asked
    out = tmp_path / "out.parquet"
    monkeypatch.setattr(nodes, "_BATCHES", 1)
    sizes, plain = [], nodes._row

    def row(*args):
        sizes.append(1)
        if len(sizes) == 39:  # in the last part
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(nodes, "_row", row)
    settings = {"evaluation": {"batch_size": 16}, "requests": str(path)}
    with pytest.raises(KeyboardInterrupt):
        run(finished, "recommend", recommendations=str(out), **settings)
    assert not out.exists()
    run(finished, "recommend", recommendations=str(out), **settings)
    assert len(sizes) == 39 + 8  # the first two parts were not made again
    table = pd.read_parquet(out)
    items = pd.read_parquet(finished / "data/02_intermediate/sample_book/items.parquet")
    titles = set(items["title"])
    assert table["id"].tolist() == [row["id"] for row in rows]
    assert all(len(row) == 3 and set(row) <= titles for row in table["titles"])
    assert (table["reasoning"].str.len() > 0).mean() > 0.9
    assert not list(finished.glob("data/06_models/**/rows-*.parquet"))


def test_a_file_that_is_not_there_is_named(finished, tmp_path):
    with pytest.raises(MissingStageError, match=r"no file .*none\.jsonl.*requests=FILE"):
        run(finished, "recommend", requests=str(tmp_path / "none.jsonl"))


FRESH = """
import json, mlflow, sys
uri, run, request = sys.argv[1:]
mlflow.set_tracking_uri(uri)
mlflow.set_experiment("asked")
model = mlflow.pyfunc.load_model(f"runs:/{run}/assistant")
said = model.predict({"input": [{"role": "user", "content": request}], "custom_inputs": {"k": 2}})
mlflow.flush_trace_async_logging()
(trace,) = mlflow.search_traces(return_type="list")
import rerec_pipeline
print(json.dumps({"said": said, "spans": [span.name for span in trace.data.spans],
                  "code": rerec_pipeline.__file__}))
"""


def test_the_policy_is_a_model_that_answers_in_a_fresh_process(finished, asked, tmp_path, capfd):
    _, rows = asked
    uri = f"sqlite:///{finished}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    ids = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(ids, order_by=["attributes.start_time ASC"])
    trained = next(run for run in runs if " rft " in run.info.run_name)
    arguments = [uri, trained.info.run_id, rows[0]["request"]]
    done = subprocess.run(
        [sys.executable, "-P", "-c", FRESH, *arguments], capture_output=True, text=True,
        cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    items = found["said"]["custom_outputs"]["items"]
    text = found["said"]["output"][0]["content"][0]["text"]
    assert len(items) == 2 and text.endswith(f"I recommend {items[0]['title']}.")
    assert {"predict", "link", "retrieve", "reason", "check"} <= set(found["spans"])
    served = load_logged({"server": {"mlflow_tracking_uri": uri}}, trained.info.run_id)
    assert "Downloading" not in capfd.readouterr().err  # a bar for each of hundreds of files
    assert [item.title for item in served.ask(rows[0]["request"], top=2).items] == [
        item["title"] for item in items
    ]
    with pytest.raises(MissingStageError, match="--run nothing: MLflow has no such assistant"):
        load_logged({"server": {"mlflow_tracking_uri": uri}}, "nothing")


def test_questions_are_judged_without_a_model(finished):
    run(finished, "judge_answers", questions=6)
    (path,) = finished.glob("data/08_reporting/**/judged_answers.json")
    report = json.loads(path.read_text())
    assert report["n"] == 6 and report["among_candidates"] == 1.0
    assert 0 <= report["right"] <= 1 and 0 <= report["faithful"] <= 1
    latest = mlflow.last_active_run()
    assert latest.data.metrics["right/mean"] == report["right"]
    traces = mlflow.search_traces(
        locations=[latest.info.experiment_id], run_id=latest.info.run_id, return_type="list"
    )
    assert len(traces) == 6


def test_candidates_are_ranked_after_the_reasoning(finished, metrics):
    run(finished, "likelihood")
    (path,) = finished.glob("data/08_reporting/**/likelihood.json")
    report = json.loads(path.read_text())
    assert report["free"]["mean"] == metrics["after"]["accuracy"]
    changed = report["made_right"] - report["made_wrong"]
    assert report["constrained"]["mean"] == pytest.approx(
        report["free"]["mean"] + changed / report["n"]
    )
    assert report["constrained"]["mean"] <= report["hit@5"]["mean"] <= 1


def test_conversations_are_led_with_and_without_the_policy(finished):
    reports = finished / "data/08_reporting/sample_book"
    run(finished, "conversations_baselines", conversations=6)
    alone = json.loads((reports / "conversations.json").read_text())
    assert (alone["goals"], alone["trials"]) == (6, 3) and set(alone["systems"]) == {"graph"}
    assert alone["systems"]["graph"]["success@3"]["mean"] > 0.5
    run(finished, "conversations", conversations=6)
    (both,) = reports.glob("*/rerec/seed-*/conversations.json")
    systems = json.loads(both.read_text())["systems"]
    assert set(systems) == {"graph", "policy"} and systems["graph"] == alone["systems"]["graph"]
