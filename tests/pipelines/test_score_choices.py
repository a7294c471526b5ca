"""Another model's answers beside the policy's: asked and graded by whole runs."""

import json
import re
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from rerec_pipeline.errors import BadInputError, MissingStageError
from tests.pipelines.conftest import PROJECT, copy_project, run

RUN = Path("sample_book/tiny/rerec/seed-0")
REPORTS = Path("data/08_reporting/sample_book")


def write(path: Path, responses) -> str:
    rows = [json.dumps({"id": query, "response": said}) for query, said in responses]
    path.write_text("\n".join(rows))
    return str(path)


def score(project: Path, answers: str, scores: Path) -> tuple[pd.DataFrame, dict]:
    run(project, "score_choices", answers=answers, scores=str(scores))
    report = json.loads((project / REPORTS / "choice_report.json").read_text())
    return pd.read_parquet(scores), report


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_policys_own_answers_have_the_accuracy_of_its_report(finished, metrics, tmp_path, when):
    folder = {"before": "sample_book/tiny", "after": RUN}[when]
    answers = pd.read_parquet(
        finished / "data/07_model_output" / folder / f"answers_{when}.parquet"
    )
    recorded = write(
        tmp_path / "own.jsonl", zip(answers["query_id"], answers["completion"], strict=True)
    )
    scores, report = score(finished, recorded, tmp_path / "own.parquet")
    for key in ("accuracy", "n", "interval", "by_type", "well_formed"):
        assert report[key] == metrics[when][key], key
    assert scores["correct"].mean() == metrics[when]["accuracy"]
    assert report["unanswered"]["n"] == 0


def test_the_readmes_way_to_ask_the_policy_gives_its_answer(finished, monkeypatch, capsys):
    run(finished, "export_prompts")
    (code,) = re.findall(
        r"```python\n(.*?)```", (PROJECT / "docs" / "evaluations.md").read_text(), re.S
    )
    monkeypatch.chdir(finished)
    exec(compile(code.replace("sample_movie", "sample_book"), "evaluations.md", "exec"), {})
    path = finished / "data/07_model_output" / RUN / "answers_after.parquet"
    assert pd.read_parquet(path)["completion"][0] in capsys.readouterr().out


def test_whoever_answers_the_exported_prompts_rightly_scores_one(finished, tmp_path, caplog):
    run(finished, "export_prompts")
    exported = [
        json.loads(line)
        for line in (finished / REPORTS / "test_prompts.jsonl").read_text().splitlines()
    ]
    prompts = pd.read_parquet(finished / "data/05_model_input/sample_book/prompts.parquet")
    prompts = prompts.set_index("query_id")
    assert [row["id"] for row in exported] == prompts.query("split == 'test'").index.tolist()
    said = [(row["id"], f"\\boxed{{{prompts['truth'][row['id']]}}}") for row in exported]
    caplog.set_level("INFO", logger="rerec_pipeline")
    scores, report = score(finished, write(tmp_path / "a.jsonl", said[1:]), tmp_path / "a.parquet")
    assert report["accuracy"] == 1.0 and scores["correct"].all()
    assert report["unanswered"]["n"] == 1
    assert report["unanswered"]["accuracy_if_wrong"] == (len(said) - 1) / len(said)
    assert f"recorded answers 1.000 ({len(said) - 1} queries; 1 without an answer)" in caplog.text
    latest = mlflow.last_active_run()
    assert "score_choices" in latest.info.run_name
    assert latest.data.metrics["choices/accuracy"] == 1.0
    reports = mlflow.MlflowClient().list_artifacts(latest.info.run_id, "reports")
    assert [Path(entry.path).name for entry in reports] == ["choice_report.json"]


def test_an_answer_to_a_training_query_stops_the_run(finished, tmp_path):
    prompts = pd.read_parquet(finished / "data/05_model_input/sample_book/prompts.parquet")
    query = prompts.query("split == 'train'")["query_id"].iloc[0]
    answers = write(tmp_path / "a.jsonl", [(query, "\\boxed{A}")])
    with pytest.raises(BadInputError, match="is in the train split"):
        score(finished, answers, tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_a_file_that_is_not_there_is_named(finished, tmp_path):
    with pytest.raises(MissingStageError, match=r"there is no file .*none\.jsonl"):
        score(finished, str(tmp_path / "none.jsonl"), tmp_path / "a.parquet")


@pytest.mark.parametrize("pipeline", ["export_prompts", "score_choices"])
def test_on_a_fresh_clone_they_say_what_makes_the_prompts(tmp_path, pipeline):
    project = copy_project(tmp_path / "project")
    answers = write(tmp_path / "a.jsonl", [("explicit-1", "A")])
    with pytest.raises(MissingStageError, match="kedro run --pipelines data_engineering"):
        run(project, pipeline, answers=answers)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_scores_never_take_the_place_of_what_is_not_ours(finished, tmp_path, kind):
    recorded = write(tmp_path / "own.jsonl", [("q", "\\boxed{x}")])
    mine = tmp_path / "mine"
    kept = mine if kind == "file" else mine / "thesis.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("years of work")
    with pytest.raises(BadInputError, match=rf"{mine}: is a {kind} that this project did not"):
        run(finished, "score_choices", answers=recorded, scores=str(mine))
    assert kept.read_text() == "years of work"
