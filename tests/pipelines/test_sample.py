"""All pipelines on a built-in sample, with the shipped base policy: short, but real."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import mlflow
import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from safetensors.torch import load_file

from rerec_pipeline.errors import BadParameterError, MissingStageError, ReRecError
from rerec_pipeline.pipeline_registry import register_pipelines
from rerec_pipeline.pipelines import stages
from rerec_pipeline.storage.lock import Claims
from rerec_pipeline.storage.records import problem_of, read_record, replaced_input
from tests.notebooks import execute
from tests.pipelines.conftest import PROJECT, copy_project, run

RUN = Path("sample_book/tiny/rerec/seed-0")
LAYERS = {
    "raw", "intermediate", "primary", "feature", "model_input", "models", "model_output",
    "reporting",
}  # fmt: skip
#: What data engineering made of the sample's files when its version was last raised.
GOLDEN = Path(__file__).with_name("tables_of_versions.json")


def hash_of_rows(table: Path) -> str:
    """Of the content of a table, in whatever order its rows are."""
    rows = pd.read_parquet(table).to_json(orient="records", lines=True).splitlines()
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()[:16]


def looks(data: Path, folder: str) -> dict[Path, int]:
    """Every output below a folder of all layers, and when it was written."""
    files = (path for path in data.glob(f"*/{folder}/**/*") if path.is_file())
    return {p: p.stat().st_mtime_ns for p in files if ".records" not in p.parts}


class TestReport:
    def test_before_and_after_side_by_side(self, metrics):
        for name in ("before", "after"):
            report = metrics[name]
            low, high = report["interval"]
            assert 0 <= low <= report["accuracy"] <= high <= 1
            assert report["n"] == sum(row["n"] for row in report["by_type"].values())
            assert set(report["by_type"]) == {"explicit", "implicit", "misinformed", "interest"}
            for row in report["by_type"].values():
                assert set(row) == {"accuracy", "n", "clusters", "interval"}
            assert 0 <= report["well_formed"] <= 1
            assert report["faithfulness"]["facts"] > 0
        assert metrics["run"] == {
            "dataset": "sample_book", "backbone": "tiny", "variant": "rerec", "seed": 0,
            "split": "test",
        }  # fmt: skip

    def test_the_latest_report_is_a_copy_of_the_runs_own(self, finished, metrics):
        own = json.loads((finished / "data/08_reporting" / RUN / "metrics.json").read_text())
        assert own == metrics

    def test_only_test_queries_were_evaluated(self, finished, metrics):
        prompts = pd.read_parquet(finished / "data/05_model_input/sample_book/prompts.parquet")
        answers = pd.read_parquet(finished / "data/07_model_output" / RUN / "answers_after.parquet")
        test = set(prompts.query("split == 'test'")["query_id"])
        assert set(answers["query_id"]) == test
        assert metrics["after"]["n"] == len(test)

    def test_validation_queries_can_be_asked_and_leave_what_test_queries_said_alone(self, finished):
        latest = finished / "data/08_reporting/metrics.json"
        of_test = latest.read_text()
        run(finished, "evaluation", split="validation")
        latest.write_text(of_test)
        folders = (finished / "data/08_reporting" / RUN, finished / "data/07_model_output" / RUN)
        assert (folders[0] / "metrics.json").read_text() == of_test
        report = json.loads((folders[0] / "validation/metrics.json").read_text())
        assert report["run"]["split"] == "validation"
        prompts = pd.read_parquet(finished / "data/05_model_input/sample_book/prompts.parquet")
        answers = pd.read_parquet(folders[1] / "validation/answers_after.parquet")
        validation = set(prompts.query("split == 'validation'")["query_id"])
        assert set(answers["query_id"]) == validation and report["after"]["n"] == len(validation)
        client = mlflow.MlflowClient(f"sqlite:///{finished}/mlflow.db")
        experiment = client.get_experiment_by_name("rerec")
        told = client.search_runs([experiment.experiment_id], "tags.split = 'validation'")[0]
        assert told.info.run_name == "rerec seed 0 evaluation validation · sample_book tiny"
        assert told.data.metrics["validation/after/accuracy"] == report["after"]["accuracy"]
        assert not any(name.startswith("test/") for name in told.data.metrics)

    def test_the_outcomes_are_those_of_the_report(self, finished, metrics):
        path = finished / "data/07_model_output" / RUN / "outcomes.parquet"
        outcomes = pd.read_parquet(path).groupby("stage")
        for stage, rows in outcomes:
            assert rows["correct"].mean() == metrics[stage]["accuracy"]
            assert rows["boxed"].mean() == metrics[stage]["well_formed"]
            said = metrics[stage]["faithfulness"]
            assert rows["facts_stated"].sum() == said["facts"]
            assert rows["verdicts_stated"].sum() == said["verdicts"]

    def test_transcripts_can_be_read(self, finished):
        folder = finished / "data/08_reporting" / RUN
        table = pd.read_parquet(folder / "transcripts.parquet")
        assert {"query", "target", "reasoning_before", "answer_after"} <= set(table)
        page = (folder / "transcripts.html").read_text()
        assert page.count("<article") == len(table) > 0


class TestTraining:
    def test_the_budget_was_spent_and_the_weights_moved(self, finished):
        log = pd.read_parquet(finished / "data/07_model_output" / RUN / "training_log.parquet")
        assert len(log) == 10
        assert log["num_tokens"].is_monotonic_increasing
        before = load_file(finished / "data/06_models/base_policy/model.safetensors")
        after = load_file(finished / "data/06_models" / RUN / "policy/model.safetensors")
        assert set(before) == set(after)
        assert any((before[name] != after[name]).any() for name in before)

    def test_an_unfinished_runs_checkpoints_are_gone(self, finished):
        checkpoints = finished / "data/06_models" / RUN / "checkpoints"
        assert not any(checkpoints.glob("*"))

    def test_a_seed_repeats_the_run_to_the_last_metric(self, finished, metrics, tmp_path):
        again = copy_project(tmp_path / "project")
        run(again)
        report = json.loads((again / "data/08_reporting/metrics.json").read_text())
        expected = {**metrics, "training": dict(metrics["training"])}
        for volatile in ("seconds", "peak_memory_bytes"):
            report["training"].pop(volatile)
            expected["training"].pop(volatile)
        assert report == expected
        logs = [
            pd.read_parquet(p / "data/07_model_output" / RUN / "training_log.parquet")
            for p in (finished, again)
        ]
        assert logs[0].drop(columns="step_time").equals(logs[1].drop(columns="step_time"))
        one, two = (
            load_file(p / "data/06_models" / RUN / "policy/model.safetensors")
            for p in (finished, again)
        )
        assert all((one[name] == two[name]).all() for name in one)


class TestStages:
    def test_a_missing_input_says_which_command_makes_it(self, tmp_path):
        project = copy_project(tmp_path / "project")
        with pytest.raises(MissingStageError) as error:
            run(project, "evaluation")
        text = str(error.value)
        assert "has not been made yet" in text
        command = shlex.split(text.partition("Make it with: ")[2])
        assert command[:3] == ["kedro", "run", "--pipelines"] and command[3].isidentifier()
        assert command[4] == "--params"
        assert command[5].startswith("dataset=sample_book,")

    def test_an_input_made_with_other_parameters_is_not_used(self, finished):
        changed = {"rft": {"budget": {"rollouts": 640}, "checkpoint_every": 4,
                           "reward": {"weights": {"qas": 0.9}}}}  # fmt: skip
        with pytest.raises(MissingStageError, match=r"rft.reward.weights.qas was 0.2, is 0.9"):
            run(finished, "evaluation", **changed)

    def test_another_choice_writes_elsewhere(self, finished):
        with pytest.raises(MissingStageError, match="variant=grpo"):
            run(finished, "evaluation", variant="grpo")

    def test_the_engine_is_no_reason_to_make_anything_again(self, finished):
        """Its tables have records like others, but who computed them is not in them."""
        graph = finished / "data/03_primary/sample_book/interaction_graph.parquet"
        stamp = read_record(graph).origin.parameters
        assert stamp["interactions.validation_share"] == 0.1
        assert not [key for key in stamp if "engine" in key]
        with pytest.raises(MissingStageError, match="interactions.seed was 0, is 1"):
            run(finished, "graph_modeling", interactions={"seed": 1})

    def test_another_version_of_a_stage_makes_what_follows_out_of_date(self, finished, monkeypatch):
        """Inputs stop the run; a policy, which takes long to make, is not replaced, either."""
        monkeypatch.setattr(stages, "VERSIONS", {"retrieval": 2})
        with pytest.raises(MissingStageError, match="by another version of retrieval"):
            run(finished, "evaluation")
        monkeypatch.setattr(stages, "VERSIONS", {"graph_modeling": 2})
        with pytest.raises(BadParameterError, match=r"by another version of graph.* not replaced"):
            run(finished, "rft")

    def test_tables_are_those_of_the_recorded_versions(self, finished):
        """A change of what a stage makes has to raise its version, else old outputs are used."""
        root, tables = finished / "data", register_pipelines()["data_engineering"].all_outputs()
        made = {
            path.stem: hash_of_rows(path)
            for layer in ("02_intermediate", "03_primary", "05_model_input")
            for path in sorted((root / layer / "sample_book").glob("*.parquet"))
            if path.stem in tables
        }
        golden = json.loads(GOLDEN.read_text())
        now = {"version": stages.VERSIONS.get("data_engineering", 1), "tables": made}
        assert now == golden, (
            "data_engineering makes other tables of the same files. If that is meant, raise its "
            f"version in pipelines/stages.py and write {json.dumps(now)} to {GOLDEN.name}"
        )

    def test_other_data_parameters_leave_the_tables_that_a_policy_stands_on(self, finished):
        policy = finished / "data/06_models" / RUN / "policy"
        table = finished / "data/05_model_input/sample_book/candidates.parquet"
        before = read_record(table)
        run(finished, "data_engineering", label="few", data_label="size=10",
            data={"candidates": {"size": 10, "hard": 2, "traps": 1}})  # fmt: skip
        other = table.parent.with_name("sample_book+size-10") / table.name
        assert len(pd.read_parquet(other)["candidate_ids"][0]) == 10
        assert read_record(table) == before and problem_of(policy) == ""
        assert replaced_input(policy) is None

    def test_other_prompts_leave_tables_graphs_and_what_was_made_of_the_usual_ones(
        self, finished, monkeypatch, tmp_path
    ):
        """LightGCN and the ranker are not made again, nor asked for; both can run at once."""
        data, prompt = finished / "data", {"evidence": 2, "user": "{candidates}\n{query}{known}"}
        told = {"data": {"prompt": prompt}, "rft": {
            "budget": {"rollouts": 64}, "generation": {"max_prompt_tokens": 900},
        }}  # fmt: skip
        labels = {"label": "told", "prompt_label": "evidence=2"}
        claimed, take, latest = [], Claims.take, data / "08_reporting/metrics.json"
        monkeypatch.setattr(Claims, "take", lambda s, made: (claimed.append(made), take(s, made)))
        before, of_usual = looks(data, "sample_book"), latest.read_text()
        assert {"lightgcn_embeddings.safetensors", "ranker.txt"} <= {p.name for p in before}
        run(finished, "rft", only_missing=True)
        run(finished, "rft", only_missing=True, **told, **labels)
        with pytest.raises(BadParameterError, match="data.prompt.evidence was 0, is 2"):
            run(finished, "rft", **told)  # in the usual folder
        usual, other, mixed = claimed[:3]
        run(finished, "evaluation", **told, **labels)
        latest.write_text(of_usual)
        assert looks(data, "sample_book") == before
        made = {path.name for path in looks(data, "sample_book+evidence-2")}
        assert {"prompts.parquet", "training_prompts.parquet", "metrics.json"} <= made
        assert not {"items.parquet", "lightgcn_embeddings.safetensors", "ranker.txt"} & made
        assert (data / "06_models/sample_book+evidence-2/tiny/rerec/seed-0/told/policy").is_dir()
        runs = [Claims(tmp_path / "runs") for _ in range(3)]
        take(runs[0], usual)
        take(runs[1], other)
        with pytest.raises(ReRecError, match="works in sample_book: "):
            take(runs[2], mixed)

    def test_with_only_missing_outputs_nothing_fresh_is_made_again(self, finished):
        policy = finished / "data/06_models" / RUN / "policy/model.safetensors"
        made = policy.stat().st_mtime_ns
        run(finished, "rft", only_missing=True)
        assert policy.stat().st_mtime_ns == made

    def test_a_wrong_parameter_stops_everything_before_it_starts(self, tmp_path):
        project = copy_project(tmp_path / "project")
        with pytest.raises(BadParameterError, match="rft.reward.k"):
            run(project, rft={"reward": {"k": 0}})
        assert not (project / "data/01_raw").exists()
        assert not (project / "mlflow.db").exists()


@pytest.fixture(scope="session")
def runs(finished):
    """A client, and the runs that left the finished project, oldest first."""
    client = mlflow.MlflowClient(f"sqlite:///{finished}/mlflow.db")
    experiment = client.get_experiment_by_name("rerec")
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return client, found[:2]


class TestMlflow:
    def test_one_run_each(self, runs):
        assert [r.info.run_name for r in runs[1]] == [
            "rerec seed 0 rft · sample_book tiny",
            "rerec seed 0 evaluation · sample_book tiny",
        ]
        assert {r.info.status for r in runs[1]} == {"FINISHED"}

    def test_parameters_are_flat(self, runs):
        params = runs[1][0].data.params
        assert params["rft.reward.weights.qas"] == "0.2"
        assert params["rft.budget.rollouts"] == "640"
        assert params["lightgcn.layers"] == "3"

    def test_tags_tell_runs_apart(self, runs):
        tags = runs[1][0].data.tags
        chosen = {key: tags[key] for key in ("dataset", "backbone", "variant", "seed")}
        assert chosen == {
            "dataset": "sample_book", "backbone": "tiny", "variant": "rerec", "seed": "0",
        }  # fmt: skip
        assert len(tags["data_sha256"]) == 64 and tags["git_commit"]

    def test_every_step_is_there(self, runs):
        client, (rft, _) = runs
        for name in ("rft/reward", "rft/accuracy", "rft/rewards/qas/mean", "rft/curriculum/epoch"):
            history = client.get_metric_history(rft.info.run_id, name)
            assert [m.step for m in history] == list(range(1, 11)), name

    def test_reports_are_metrics_too(self, runs, metrics):
        _, (rft, evaluation) = runs
        assert evaluation.data.metrics["test/after/accuracy"] == metrics["after"]["accuracy"]
        assert "test/before/by_type/explicit/accuracy" in evaluation.data.metrics
        assert 0 < rft.data.metrics["lightgcn/recall_at_20"] <= 1

    def test_artifacts(self, runs):
        client, (rft, evaluation) = runs

        def files(run_id, path=None):
            for entry in client.list_artifacts(run_id, path):
                if entry.is_dir:
                    yield from files(run_id, entry.path)
                else:
                    yield entry.path

        names = {Path(p).name for r in (rft, evaluation) for p in files(r.info.run_id)}
        assert {
            "model.safetensors", "tokenizer.json", "lightgcn_embeddings.safetensors",
            "metrics.json", "transcripts.html", "learning_plot.html",
            "learning_plot.json", "accuracy_plot.json", "curriculum_plot.json",
        } <= names  # fmt: skip


def test_kedro_viz_shows_layered_named_pipelines(finished):
    # kedro viz shows the default choices; here they are those of the run that is there.
    (finished / "conf/local/globals.yml").write_text("dataset: sample_book\n")
    command = [sys.executable, "-m", "kedro", "viz", "build", "--include-previews"]
    done = subprocess.run(
        command, cwd=finished, capture_output=True, text=True, env={**os.environ}, check=False
    )
    (finished / "conf/local/globals.yml").unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    graph = json.loads((finished / "build/api/main").read_text())
    names = {p["id"] for p in graph["pipelines"]}
    assert {
        "__default__",
        "data_engineering",
        "graph_modeling",
        "rft",
        "evaluation",
        "diagnosis",
    } <= names
    assert set(graph["layers"]) == LAYERS
    boxes = {n["name"] for n in graph["nodes"] if n["type"] == "modularPipeline"}
    assert boxes == {"data_engineering", "graph_modeling", "retrieval", "rft", "evaluation"}
    tasks = {n["name"] for n in graph["nodes"] if n["type"] == "task"}
    assert {"build_task", "build_reward", "prepare_backbone", "fine_tune"} <= tasks
    shown = {n["name"]: n["id"] for n in graph["nodes"] if n["type"] == "data"}
    tables = ("items", "interactions", "interaction_graph", "prompts", "transcripts")
    for dataset in (*tables, "accuracy_plot", "learning_plot"):
        details = json.loads((finished / "build/api/nodes" / shown[dataset]).read_text())
        assert details.get("preview"), dataset
    compared = json.loads((finished / "build/api/pipelines/comparison").read_text())
    tasks = {n["name"] for n in compared["nodes"] if n["type"] == "task"}
    assert tasks == {"compare_cells", "report_comparison", "plot_comparison", "write_comparison"}


def test_the_notebook_runs_on_a_finished_run(finished):
    notebook = nbformat.read(PROJECT / "notebooks/one_answer.ipynb", as_version=4)
    choices = next(c for c in notebook.cells if c["source"].find("choices = {}") >= 0)
    short = {"dataset": "sample_book"}
    choices["source"] = choices["source"].replace("choices = {}", f"choices = {short}")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(finished)}}).execute()
    html = [o["data"]["text/html"] for c in notebook.cells for o in c.get("outputs", ())
            if "text/html" in o.get("data", {})]  # fmt: skip
    assert any("rgba(220, 38, 38" in text for text in html)


@pytest.fixture(scope="module")
def diagnosed(finished):
    """The folder of reports, the diagnosis among them."""
    run(finished, "diagnosis")
    return finished / "data/08_reporting" / RUN


class TestDiagnosis:
    def test_it_says_what_was_found_and_what_could_not_be(self, diagnosed, metrics):
        report = json.loads((diagnosed / "diagnosis.json").read_text())
        said = report["findings"]["chance"]["sentence"]
        before, after = (metrics[name]["accuracy"] for name in ("before", "after"))
        assert said.startswith(f"Accuracy went from {before:.3f} to {after:.3f}: ")
        assert report["findings"]["no_spread"]["value"] < 1
        assert report["run"] == metrics["run"]
        assert len(report["findings"]) + len(report["not_measured"]) == 17

    def test_the_page_shows_gains_and_losses(self, diagnosed):
        report = json.loads((diagnosed / "diagnosis.json").read_text())
        page = (diagnosed / "diagnosis.html").read_text()
        assert page.count("<article") == len(report["gains"]) + len(report["losses"]) > 0
        for query in (*report["gains"], *report["losses"]):
            assert f"&middot; {query}</h2>" in page
        assert '<a href="transcripts.html">' in page and (diagnosed / "transcripts.html").is_file()

    def test_what_training_logged_is_drawn(self, diagnosed):
        for name in ("reward", "groups", "terms", "variance", "penalty", "form", "difficulty"):
            assert json.loads((diagnosed / f"diagnosis_{name}_plot.json").read_text())["data"], name
        assert not json.loads((diagnosed / "diagnosis_supervised_plot.json").read_text())["data"]


def test_the_notebook_compares_the_cells_of_an_experiment(finished, monkeypatch):
    client = mlflow.MlflowClient(f"sqlite:///{finished}/mlflow.db")
    store = client.get_experiment_by_name("rerec").experiment_id
    right = {("rerec", 0): 0.6, ("rerec", 1): 0.7, ("grpo", 0): 0.55, ("grpo", 1): 0.6}
    for (variant, seed), accuracy in right.items():
        tags = {"experiment_group": "old,by-hand", "variant": variant, "seed": str(seed)}
        cell = client.create_run(store, tags=tags).info.run_id
        for name in ("before", "after", "after/by_type/explicit"):
            value = 0.25 if name == "before" else accuracy
            client.log_metric(cell, f"test/{name}/accuracy", value)
        client.log_metric(cell, "rft/accuracy", seed / 2, step=1)
        client.set_terminated(cell)
    monkeypatch.chdir(finished)
    _, cells, means, _, differences, by_type, curves = execute("compare_experiment.ipynb")
    assert len(cells) == 4
    assert means["after"].loc["rerec"].tolist() == pytest.approx([0.65, 0.071, 2])
    assert differences["grpo"].tolist() == pytest.approx([-0.05, -0.1, -0.075])
    assert by_type.loc["grpo", "explicit"] == pytest.approx(0.575)
    assert {line.name: list(line.y) for line in curves.data} == {"grpo": [0.25], "rerec": [0.25]}


def test_registered_pipelines():
    pipelines = register_pipelines()
    assert set(pipelines) == {
        "__default__", "data_engineering", "graph_modeling", "rft", "evaluation", "diagnosis",
        "comparison", "shared_stages", "single_run", "abilities", "abilities_comparison",
        "base_policy", "score_answers", "export_prompts", "score_choices", "transfer",
        "next_item_baselines", "next_item", "retrieval", "recommend", "open_ended_baselines",
        "open_ended",
        "judge_answers",
        "likelihood", "next_item_likelihood", "conversations_baselines", "conversations",
        "model_card",
    }  # fmt: skip
    assert not [n for n in pipelines["rft"].inputs() if not n.startswith("param")]
    # run_pages is no file: it says which pages of the run there are
    inputs = [n for n in pipelines["__default__"].inputs() if not n.startswith("param")]
    assert inputs == ["run_pages"]


@pytest.mark.slow
def test_the_policy_learns_on_the_whole_sample(tmp_path):
    """The default run of the README, as it is; the bar is that of docs/results.md."""
    project = copy_project(tmp_path / "project")
    command = [sys.executable, "-m", "kedro", "run"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((project / "data/08_reporting/metrics.json").read_text())
    assert 0.1 <= report["before"]["accuracy"] <= 0.45
    assert report["after"]["accuracy"] >= report["before"]["accuracy"] + 0.2
