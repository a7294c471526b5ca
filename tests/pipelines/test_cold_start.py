"""A cold start: what is taught, that it is of training queries, and the policy it leaves."""

import json

import pandas as pd
import pytest
from transformers import TrainerCallback

from rerec_pipeline.errors import BadInputError, BadParameterError
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.parameters.launch import LaunchParameters
from rerec_pipeline.parameters.rft import ColdStartParameters
from rerec_pipeline.pipelines.rft import nodes
from rerec_pipeline.pipelines.rft.traces import (
    in_form,
    start_cold,
    write_cold_start_traces,
    write_forms,
)
from rerec_pipeline.recbench.tables import examples_from_table
from tests.pipelines.conftest import copy_project, run
from tests.training.test_trainer import rft_parameters

COLD = {"traces": "graph", "token_budget": 60_000, "batch_size": 8, "checkpoint_every": 2}
CHANGES = {
    "rft": {
        "budget": {"rollouts": 128, "prompts": 4, "group_size": 4, "micro_batch": 16},
        "generation": {"max_completion_tokens": 40},
        "cold_start": COLD,
        "checkpoint_every": 4,
    }
}
POLICIES = "data/06_models/sample_book/tiny/cold_start"


@pytest.fixture(scope="module")
def task(world_tables):
    data, tables = world_tables
    return nodes.build_task(tables["items"], data)


def parameters(tmp_path, **changes) -> ColdStartParameters:
    return rft_parameters("nowhere", tmp_path, cold_start={**COLD, **changes}).cold_start


def traces(world_tables, task, cold_start, prompts=None):
    _, tables = world_tables
    prompts = tables["prompts"] if prompts is None else prompts
    train = prompts.query("split == 'train'").reset_index(drop=True)
    known = (prompts, tables["attribute_graph"], task, cold_start)
    return write_cold_start_traces(train, *known)


class TestWhatIsTaught:
    def test_every_trace_is_of_a_training_query_and_right(self, world_tables, task, tmp_path):
        made = traces(world_tables, task, parameters(tmp_path))
        train = world_tables[1]["prompts"].query("split == 'train'")
        assert made["query_id"].tolist() == train["query_id"].tolist()
        boxed = made["response"].str.extract(r"\\boxed\{(.*)\}$")[0]
        assert boxed.tolist() == train["truth"].tolist()
        assert (made["response"].str.count("\n") >= 2).all()

    def test_right_answers_of_other_splits_are_not_in_it(self, world_tables, task, tmp_path):
        prompts = world_tables[1]["prompts"].copy()
        other = prompts["split"] != "train"
        lists = prompts.loc[other, "candidate_ids"]
        prompts.loc[other, "truth_id"] = [
            next(c for c in listed if c != truth)
            for listed, truth in zip(lists, prompts.loc[other, "truth_id"], strict=True)
        ]
        one = traces(world_tables, task, parameters(tmp_path))
        assert one.equals(traces(world_tables, task, parameters(tmp_path), prompts))

    def test_without_a_cold_start_nothing_is(self, world_tables, task, tmp_path):
        assert traces(world_tables, task, parameters(tmp_path, traces="none")).empty

    def test_a_file_is_checked(self, world_tables, task, tmp_path):
        row = world_tables[1]["prompts"].query("split == 'train'").iloc[0]
        record = {"id": row["query_id"], "response": f"Well.\n\\boxed{{{row['truth']}}}"}
        file = tmp_path / "traces.jsonl"
        file.write_text(json.dumps(record))
        made = traces(world_tables, task, parameters(tmp_path, traces=str(file)))
        assert made["response"].tolist() == [record["response"]]
        file.write_text(json.dumps({**record, "response": "None of them."}))
        with pytest.raises(BadInputError, match="does not end in the right answer"):
            traces(world_tables, task, parameters(tmp_path, traces=str(file)))

    def test_a_file_that_is_missing_is_named(self, tmp_path):
        project = copy_project(tmp_path / "project")
        with pytest.raises(BadParameterError, match=r"rft\.cold_start\.traces: there is no file"):
            run(project, "rft", rft={"cold_start": {"traces": "nowhere.jsonl"}})


class TestForms:
    def test_each_prompt_has_one_that_its_right_answer_does_not_change(self, world_tables, task):
        prompts = world_tables[1]["prompts"].head(12).reset_index(drop=True)
        graph = world_tables[1]["attribute_graph"]
        forms = write_forms(prompts, task, graph, constrained=True)
        assert [*forms] == prompts["query_id"].tolist()
        others = prompts.assign(
            truth_id=[
                next(c for c in listed if c != truth)
                for listed, truth in zip(prompts["candidate_ids"], prompts["truth_id"], strict=True)
            ]
        )
        assert write_forms(others, task, graph, constrained=True) == forms
        asked = in_form(examples_from_table(prompts, task.catalogue), forms)
        assert [example.form for example in asked] == [*forms.values()]
        boxes = [f"boxed{{{task.catalogue.titles[i]}}}" for i in asked[0].candidates]
        assert all(json.dumps(box, ensure_ascii=False)[1:-1] in asked[0].form for box in boxes)

    def test_without_the_constraint_there_are_none(self, world_tables, task):
        _, tables = world_tables
        assert write_forms(tables["prompts"], task, tables["attribute_graph"], False) == {}


class PullThePlug(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt


def test_an_interrupted_one_resumes_to_the_same_policy(
    world_tables, task, tmp_path, tiny_backbone, monkeypatch
):
    train = world_tables[1]["prompts"].query("split == 'train'").reset_index(drop=True)
    rft = rft_parameters(tiny_backbone, tmp_path)
    told = traces(world_tables, task, parameters(tmp_path))

    def start(folder, callback=TrainerCallback):
        logger = "rerec_pipeline.pipelines.rft.traces.MlflowStepLogger"
        monkeypatch.setattr(logger, lambda _: callback())
        cold_start = parameters(tmp_path, checkpoint_dir=str(tmp_path / folder))
        record = {"name_or_path": tiny_backbone}
        here = LaunchParameters(preset=None, processes=1, configs="", jobs="")
        given = (train, told, task, rft.backbone, rft.generation, cold_start, here)
        return start_cold(record, *given)

    whole = start("whole")
    with pytest.raises(KeyboardInterrupt):
        start("cut", PullThePlug)
    resumed = start("cut")
    assert whole["cold_start"]["steps"] == resumed["cold_start"]["steps"] > 3
    states = [load_backbone(r["name_or_path"]).model.state_dict() for r in (whole, resumed)]
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    before = load_backbone(tiny_backbone).model.state_dict()
    assert not all(before[name].equal(states[0][name]) for name in before)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("cold") / "project")
    run(project, **CHANGES)
    return project


def test_a_whole_run_puts_it_beside_the_untrained_model(started):
    metrics = json.loads((started / "data/08_reporting/metrics.json").read_text())
    cold = metrics["baselines"]["cold_start"]
    assert cold["n"] == metrics["before"]["n"] and 0 <= cold["well_formed"] <= 1
    assert cold["policy_there"] == metrics["after"]["accuracy"]
    assert cold["lead"] == pytest.approx(cold["policy_there"] - cold["accuracy"])
    low, high = cold["lead_interval"]
    assert low <= cold["lead"] <= high
    spent = metrics["training"]["cold_start"]
    assert spent["token_passes"] == 3 * spent["tokens"] and spent["steps"] > 0
    assert 0.75 * 60_000 < spent["token_passes"] < 1.25 * 60_000
    outcomes = next((started / "data/07_model_output/sample_book/tiny").rglob("outcomes.parquet"))
    assert set(pd.read_parquet(outcomes)["stage"]) == {"before", "cold_start", "after"}


def test_another_variant_begins_from_the_same_policy(started):
    (made,) = [p for p in (started / POLICIES).iterdir() if not p.name.startswith(".")]
    when = (made / "model.safetensors").stat().st_mtime_ns
    run(started, "rft", variant="grpo", **CHANGES)
    assert [p for p in (started / POLICIES).iterdir() if not p.name.startswith(".")] == [made]
    assert (made / "model.safetensors").stat().st_mtime_ns == when


def test_a_slow_model_can_be_asked_fewer_queries(started):
    evaluation = {"bootstrap_samples": 200, "limit": 7}
    run(started, "evaluation", **CHANGES, evaluation=evaluation)
    metrics = json.loads((started / "data/08_reporting/metrics.json").read_text())
    assert metrics["after"]["n"] == metrics["baselines"]["graph"]["n"] == 7


def test_candidates_can_be_listed_as_the_graph_ranks_them(started):
    prompt = {"order": "graph"}
    run(started, "rft", data={"prompt": prompt}, **{"label": "ranked"}, only_missing=False,
        rft={**CHANGES["rft"], "cold_start": {"traces": "none"}})  # fmt: skip
    folder = started / "data/05_model_input/sample_book"
    drawn = pd.read_parquet(folder / "prompts.parquet")
    ranked = pd.read_parquet(folder / "arranged_prompts.parquet")
    assert drawn["query_id"].tolist() == ranked["query_id"].tolist()
    pairs = list(zip(drawn["candidate_ids"], ranked["candidate_ids"], strict=True))
    assert all(sorted(a) == sorted(b) for a, b in pairs)
    assert any(list(a) != list(b) for a, b in pairs)
    first = ranked["candidate_ids"].str[0] == ranked["truth_id"]
    shares = first.groupby(ranked["split"]).mean()
    assert (shares > 0.4).all()  # at random .05


@pytest.mark.slow
def test_constrained_answers_state_true_facts_and_name_candidates(started):
    longer = {**CHANGES["rft"], "generation": {"max_completion_tokens": 200}, "constrained": True}
    run(started, label="constrained", rft=longer)
    metrics = json.loads((started / "data/08_reporting/metrics.json").read_text())
    stages = (metrics["before"], metrics["baselines"]["cold_start"], metrics["after"])
    for stage in stages:
        assert stage["places"]["off_list"] == 0 and stage["well_formed"] == 1
        faithful = stage["faithfulness"]
        assert faithful["facts"] > 0 and faithful["facts_confirmed"] == 1
