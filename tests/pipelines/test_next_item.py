"""Next-item choices by whole runs: the same ones for all models and the policy."""

import json

import ibis
import numpy as np
import pandas as pd
import pytest
import torch

from rerec_pipeline.errors import BadInputError, BadParameterError, MissingStageError
from rerec_pipeline.graphs.lightgcn import LightGCNTrainer
from rerec_pipeline.parameters import LightGCNParameters, NextItemParameters, SASRecParameters
from rerec_pipeline.pipelines.next_item import nodes
from rerec_pipeline.sequences.sasrec import SASRecTrainer
from rerec_pipeline.storage.checkpoints import remove_finished
from tests.pipelines.conftest import copy_project, run
from tests.test_parameters import parameters

RUN = "sample_book/tiny/rerec/seed-0"
QUICK = {"sasrec": {"epochs": 4, "evaluate_every": 2}, "next_item": {"users": 50}}
MANIFEST = {"ratings.dat": {"path": "ratings.dat"}}
MODELS = ["random", "popularity", "lightgcn", "sasrec"]


@pytest.fixture(scope="module")
def chosen(finished):
    """The finished project after its policy was asked what comes next."""
    run(finished, "next_item", **QUICK)
    return finished


def table(project, path):
    return pd.read_parquet(project / "data" / path)


class TestChoices:
    def test_the_last_item_is_tested_on_and_the_one_before_validated_on(self, chosen):
        sequences = table(chosen, "03_primary/sample_book/next_item_sequences.parquet")
        choices = table(chosen, "05_model_input/sample_book/next_item_choices.parquet")
        interactions = table(chosen, "02_intermediate/sample_book/interactions.parquet")
        past = dict(zip(sequences["user_id"], sequences["item_ids"], strict=True))
        assert choices["split"].value_counts().to_dict() == {"validation": 50, "test": 50}
        place = choices["split"].map({"validation": -2, "test": -1})
        for row, n in zip(choices.itertuples(), place, strict=True):
            assert row.truth_id == past[row.user_id][n]
            assert set(row.candidate_ids) & set(past[row.user_id]) == {row.truth_id}
            assert len(row.candidate_ids) == 20
        rows = interactions[interactions["user_id"] == row.user_id].sort_values("timestamp")
        assert [i for i in rows["item_id"] if i in past[row.user_id]] == list(past[row.user_id])

    def test_models_and_policy_were_asked_the_same(self, chosen):
        prompts = table(chosen, f"05_model_input/{RUN[:16]}/next_item_prompts.parquet")
        items = table(chosen, "02_intermediate/sample_book/items.parquet").set_index("item_id")
        ranks = table(chosen, "07_model_output/sample_book/next_item_ranks.parquet")
        assert prompts["query_id"].tolist() == ranks["user_id"].tolist()
        assert list(ranks.columns) == ["user_id", *MODELS]
        first = prompts.iloc[0]
        titles = items.loc[first["candidate_ids"], "title"].tolist()
        assert first["user"].split("\n\n")[0].split("\n") == titles
        assert first["user"].split("\n\n")[1].startswith("I loved ")

    def test_the_report(self, chosen):
        report = json.loads((chosen / "data/08_reporting" / RUN / "next_item.json").read_text())
        assert (report["users"], report["candidates"]) == (50, 20)
        assert list(report["models"]) == [*MODELS, "before", "after"]
        ranks = table(chosen, "07_model_output/sample_book/next_item_ranks.parquet")
        for model in MODELS:
            row = report["models"][model]
            assert row["hit@1"]["mean"] == (ranks[model] == 1).mean()
            assert row["hit@10"]["mean"] == (ranks[model] <= 10).mean()
            assert row["ndcg@10"]["interval"][0] <= row["ndcg@10"]["mean"]
        for stage in ("before", "after"):  # it recommends one, so it has no list
            assert list(report["models"][stage]) == ["hit@1"]
            assert report["listed"][stage] <= 1
        assert not list((chosen / "data/06_models/sample_book/.sasrec_checkpoints").glob("*"))

    def test_without_a_policy_it_says_which_command_makes_one(self, tmp_path):
        with pytest.raises(MissingStageError, match="kedro run --pipelines rft"):
            run(copy_project(tmp_path / "project"), "next_item", **QUICK)


def config(**changes):
    values = {"core": 3, "users": 9, "negatives": 2, "history": 2, "request": "?", "seed": 0}
    return NextItemParameters(**{**values, **changes})


def raw(rows):
    schema = {"record": "int64", "user_id": "string", "item": "string", "timestamp": "int64"}
    columns = {name: [row[n] for row in rows] for n, name in enumerate(schema)}
    return ibis.memtable(columns, schema=schema)


class TestData:
    items = pd.DataFrame(
        {"item_id": [1, 2, 3, 4], "raw_id": list("abcd"), "title": ["A", "B", "C", "D"]}
    )

    def test_without_timestamps_there_is_an_error(self):
        undated = raw([(n, "u", item, None) for n, item in enumerate("abcd")])
        with pytest.raises(BadInputError, match="1 users lack timestamps"):
            nodes.order_histories(undated, self.items, MANIFEST, config())

    def test_who_lacks_a_timestamp_is_left_out_and_counted(self):
        dated = [(n, u, i, 10 - n) for u in "uvw" for n, i in enumerate("abc")]
        found, counts = nodes.order_histories(
            raw([*dated, (9, "x", "a", None)]), self.items, MANIFEST, config()
        )
        assert found["item_ids"].map(list).tolist() == [[3, 2, 1]] * 3
        assert counts == {
            "users": 3, "items": 3, "interactions": 9, "users_without_timestamps": 1,
            "users_outside_the_core": 0,
        }  # fmt: skip

    def test_a_title_that_two_items_have_is_no_candidate(self):
        items = self.items.assign(title=["A", "A", "C", "D"])
        past = [np.array(p) for p in ([1, 3, 4], [3, 4, 1], [2, 4, 3])]
        sequences = pd.DataFrame({"user_id": list("uvw"), "item_ids": past})
        with pytest.raises(BadInputError, match="only 0 items can be negatives"):
            nodes.draw_choices(sequences, items, config())
        right = nodes.draw_choices(sequences, items.assign(title=list("ABCD")), config(negatives=1))
        assert set(right["user_id"]) == {"u", "v", "w"}


def test_an_interrupted_training_goes_on_to_the_same_weights(chosen, tmp_path, monkeypatch):
    sequences = table(chosen, "03_primary/sample_book/next_item_sequences.parquet")
    choices = table(chosen, "05_model_input/sample_book/next_item_choices.parquet")
    values = parameters(dataset="sample_book", **QUICK)["sasrec"].model_dump()
    sasrec = SASRecParameters(**{**values, "checkpoint_dir": str(tmp_path)})
    whole, report = nodes.train_sasrec(sequences, choices, sasrec)
    remove_finished()
    assert not list(tmp_path.iterdir())
    epoch = SASRecTrainer.train_epoch

    def cut(self, number):
        if number == 4:
            raise KeyboardInterrupt
        return epoch(self, number)

    monkeypatch.setattr(SASRecTrainer, "train_epoch", cut)
    with pytest.raises(KeyboardInterrupt):
        nodes.train_sasrec(sequences, choices, sasrec)
    trained = []
    monkeypatch.setattr(SASRecTrainer, "train_epoch", lambda s, n: trained.append(n) or epoch(s, n))
    again, same = nodes.train_sasrec(sequences, choices, sasrec)
    assert trained == [3, 4] and same == report
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_an_interrupted_lightgcn_goes_on_and_another_one_does_not(chosen, tmp_path, monkeypatch):
    sequences = table(chosen, "03_primary/sample_book/next_item_sequences.parquet")
    values = parameters(dataset="sample_book", **QUICK)["lightgcn"].model_dump()
    values |= {"checkpoint_dir": str(tmp_path), "evaluate_every": 2, "epochs": 6}
    config = LightGCNParameters(**values)
    whole, report = nodes.train_lightgcn(sequences, config)
    remove_finished()
    assert not list(tmp_path.iterdir())
    epoch, trained = LightGCNTrainer.train_epoch, []

    def cut(self):
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.append(self)
        return epoch(self)

    monkeypatch.setattr(LightGCNTrainer, "train_epoch", cut)
    with pytest.raises(KeyboardInterrupt):
        nodes.train_lightgcn(sequences, config)
    counted = []
    monkeypatch.setattr(LightGCNTrainer, "train_epoch", lambda s: counted.append(s) or epoch(s))
    nodes.train_lightgcn(sequences, config.model_copy(update={"lr": 0.01}))
    assert len(counted) == 6  # of other settings: from the beginning
    again, same = nodes.train_lightgcn(sequences, config)
    assert len(counted) == 6 + 2 and same == report  # epochs 5 and 6
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    remove_finished()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"next_item": {"core": 2}}, "next_item.core"),
        ({"next_item": {"history": 0, "request": "What next?"}}, "history=0 tells nothing"),
        ({"sasrec": {"heads": 3}}, "dim=64 is not a multiple of heads=3"),
    ],
)
def test_a_wrong_parameter_is_named(wrong, key):
    with pytest.raises(BadParameterError, match=key):
        parameters(**wrong)
