"""Traces that sft_traces imitates: a world's own, or a file's, and what is refused."""

import json

import pytest

from rerec_pipeline.configs import Habits
from rerec_pipeline.errors import BadInputError, BadParameterError
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.pipelines.rft import nodes
from rerec_pipeline.pipelines.rft.traces import collect_traces, traced_lessons
from rerec_pipeline.recbench.heldout import held_out_pairs
from rerec_pipeline.recbench.tables import examples_from_table
from rerec_pipeline.sample.layout import fabricate_asks
from rerec_pipeline.training.fine_tuning import fine_tune_sft
from tests.training.test_trainer import rft_parameters

HABITS = Habits(
    looks=2, spots=0.4, follows=0.5, commits=0.7, true_verdicts=0.9, misled=0, misreads=0
)


@pytest.fixture(scope="module")
def task(world_tables):
    data, tables = world_tables
    return nodes.build_task(tables["items"], data)


def collect(world_tables, task, tmp_path, file=None, seed=0, **changes):
    data, tables = world_tables
    sft = {"teaches": "traces", "traces": None if file is None else str(file)}
    rft = rft_parameters("nowhere", tmp_path, **{"algorithm": "sft", "sft": sft, **changes})
    train = tables["prompts"].query("split == 'train'").reset_index(drop=True)
    known = [tables[name] for name in ("prompts", "queries", "items")]
    return collect_traces(train, *known, task, data, rft, HABITS, seed)


class TestOfAWorld:
    def test_they_are_right_and_of_training_queries(self, world_tables, task, tmp_path):
        traces = collect(world_tables, task, tmp_path)
        prompts = world_tables[1]["prompts"].set_index("query_id")
        assert set(prompts.loc[traces["query_id"], "split"]) == {"train"}
        assert traces["query_id"].is_unique
        examples = examples_from_table(
            prompts.loc[traces["query_id"]].reset_index(), task.catalogue
        )
        assert task.grade(traces["response"], examples).correct.all()
        assert traces["response"].str.startswith("Wanted: ").all()
        assert (traces["response"].str.count("\n") >= 2).all()  # need, a candidate, the answer

    def test_all_queries_have_one_whose_answer_may_be_told(self, world_tables, task, tmp_path):
        data, tables = world_tables
        heldout = held_out_pairs(
            tables["prompts"], tables["queries"], tables["items"], ["validation", "test"]
        )
        _, asks = fabricate_asks(data.domain, data.world)
        texts = tables["queries"].set_index("query_id")["text"]
        train = tables["prompts"].query("split == 'train'")
        told = {
            row.query_id
            for row in train.itertuples()
            if (asks[texts[row.query_id]].need.key, row.truth_id) not in heldout
        }
        assert len(told) > 60
        assert set(collect(world_tables, task, tmp_path)["query_id"]) == told

    def test_a_seed_repeats_them(self, world_tables, task, tmp_path):
        one, two, other = (collect(world_tables, task, tmp_path, seed=n) for n in (1, 1, 2))
        assert one.equals(two) and not one.equals(other)

    @pytest.mark.parametrize(
        "changes",
        [
            {"algorithm": "grpo"},
            {"sft": {"teaches": "answers"}},
        ],
    )
    def test_other_variants_have_none(self, world_tables, task, tmp_path, changes):
        assert collect(world_tables, task, tmp_path, **changes).empty


class TestOfAFile:
    @pytest.fixture
    def right(self, world_tables):
        """One record of a training query that is as it should be."""
        row = world_tables[1]["prompts"].query("split == 'train'").iloc[0]
        return {"id": row["query_id"], "response": f"Why not.\n\\boxed{{{row['truth']}}}"}

    def write(self, tmp_path, *records):
        file = tmp_path / "traces.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        return file

    def test_both_names_of_an_id_and_several_of_a_query(self, world_tables, task, tmp_path, right):
        other = {"query_id": right["id"], "response": right["response"].replace("Why", "Or")}
        file = self.write(tmp_path, right, other)
        traces = collect(world_tables, task, tmp_path, file)
        assert traces["response"].tolist() == [right["response"], other["response"]]

    @pytest.mark.parametrize(
        ("change", "field", "problem"),
        [
            ({"id": "explicit-999"}, "id", "no query has the id 'explicit-999'"),
            ({"id": None}, "id", "expected a text"),
            ({"response": ["a"]}, "response", "expected a text"),
            ({"response": "It is that one."}, "response", r"does not end in the right answer"),
            ({"response": r"\boxed{Nothing (1901)}"}, "response", "but in 'Nothing (1901)'"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, world_tables, task, tmp_path, right, change, field, problem
    ):
        file = self.write(tmp_path, right, {**right, **change})
        with pytest.raises(BadInputError) as error:
            collect(world_tables, task, tmp_path, file)
        assert (error.value.record, error.value.field) == ("trace 2", field)
        assert problem in str(error.value) and str(file) in str(error.value)

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_other_splits_are_refused(self, world_tables, task, tmp_path, right, split):
        query = world_tables[1]["prompts"].query("split == @split").iloc[0]["query_id"]
        file = self.write(tmp_path, {**right, "id": query})
        with pytest.raises(BadInputError, match=f"the query '{query}' is in the {split} split"):
            collect(world_tables, task, tmp_path, file)


def test_nothing_to_imitate_is_an_error(world_tables, task, tmp_path):
    none = collect(world_tables, task, tmp_path, algorithm="grpo")
    with pytest.raises(BadParameterError, match=r"rft\.sft\.traces"):
        traced_lessons([], none)


def test_traces_are_imitated_and_an_interrupted_run_resumes_to_the_same_result(
    world_tables, task, tmp_path, tiny_backbone
):
    import torch
    from transformers import TrainerCallback

    class PullThePlug(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 2:
                raise KeyboardInterrupt

    train = world_tables[1]["prompts"].query("split == 'train'").reset_index(drop=True)
    examples = examples_from_table(train, task.catalogue)
    lessons = traced_lessons(examples, collect(world_tables, task, tmp_path))
    sft = {"teaches": "traces", "token_passes": 16_000, "batch_size": 2}
    rft = rft_parameters(tiny_backbone, tmp_path, algorithm="sft", sft=sft, checkpoint_every=1)

    def tune(folder, *callbacks):
        return fine_tune_sft(
            load_backbone(tiny_backbone), lessons, rft.supervised, 0, folder, callbacks
        )

    whole = tune(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "cut", PullThePlug())
    resumed = tune(tmp_path / "cut")
    assert whole.log["loss"].equals(resumed.log["loss"]) and whole.summary["steps"] > 2
    two = resumed.policy.model.state_dict()
    assert all(torch.equal(w, two[name]) for name, w in whole.policy.model.state_dict().items())
    # More is held than the weights, and no machine of these tests has a terabyte.
    assert 1e6 < whole.summary["peak_memory_bytes"] < 1e12
