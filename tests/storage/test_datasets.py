"""Catalog data sets: nothing is ever half-written."""

import json

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from kedro.io import DatasetError

from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.models.policy import PolicyDataset
from rerec_pipeline.storage.datasets import (
    AtomicJSONDataset,
    AtomicParquetDataset,
    AtomicPlotlyDataset,
    AtomicTextDataset,
    TensorsDataset,
)
from rerec_pipeline.storage.records import problem_of
from rerec_pipeline.storage.reports import ReportsDataset


def seen(folder):
    return [path.name for path in folder.iterdir() if path.name != ".records"]


class TestAtomicFiles:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (AtomicJSONDataset, {"a": [1, None, "é"]}),
            (AtomicTextDataset, "Amélie\n"),
        ],
    )
    def test_what_is_saved_is_loaded(self, kind, value, tmp_path):
        dataset = kind(filepath=(tmp_path / "deep" / "file").as_posix())
        dataset.save(value)
        assert dataset.load() == value
        assert seen(tmp_path / "deep") == ["file"]

    def test_tables_and_figures(self, tmp_path):
        table = pd.DataFrame({"title": ["Amélie (2001)"], "ids": [[1, 2]]})
        stored = AtomicParquetDataset(filepath=(tmp_path / "t.parquet").as_posix())
        stored.save(table)
        assert stored.load()["title"].tolist() == ["Amélie (2001)"]
        figure = AtomicPlotlyDataset(filepath=(tmp_path / "f.json").as_posix())
        figure.save(go.Figure(go.Bar(y=[1, 2])))
        assert list(figure.load().data[0].y) == [1, 2]

    def test_a_save_that_fails_leaves_the_old_file_and_no_rest(self, tmp_path):
        path = tmp_path / "report.json"
        dataset = AtomicJSONDataset(filepath=path.as_posix())
        dataset.save({"good": 1})
        with pytest.raises(DatasetError):
            dataset.save({"first": 1, "then": object()})
        assert json.loads(path.read_text()) == {"good": 1}
        assert seen(tmp_path) == ["report.json"]


class TestModels:
    def test_tensors(self, tmp_path):
        dataset = TensorsDataset(filepath=(tmp_path / "e.safetensors").as_posix())
        assert not dataset.exists()
        items = torch.randn(5, 3).T  # not contiguous
        dataset.save({"items": items})
        assert torch.equal(dataset.load()["items"], items)

    def test_a_policy_comes_back_with_its_tokenizer(self, tiny_backbone, tmp_path):
        dataset = PolicyDataset(filepath=(tmp_path / "policy").as_posix())
        policy = load_backbone(tiny_backbone)
        dataset.save(policy)
        dataset.save(policy)  # a second time over the first
        loaded = dataset.load()
        ids = loaded.tokenizer("Amélie 😀")["input_ids"]
        assert ids == policy.tokenizer("Amélie 😀")["input_ids"]
        assert torch.equal(
            loaded.model(torch.tensor([ids])).logits, policy.model(torch.tensor([ids])).logits
        )
        assert seen(tmp_path) == ["policy"] and problem_of(tmp_path / "policy") == ""


class TestReports:
    def test_reports_of_runs_are_found_by_where_they_lie(self, tmp_path):
        dataset = ReportsDataset(path=tmp_path.as_posix(), name="abilities.json")
        assert dataset.load() == {} and dataset.exists()
        for run in ("sft/seed-1", "rerec/seed-0/longer"):
            (tmp_path / run).mkdir(parents=True)
            (tmp_path / run / "abilities.json").write_text(json.dumps({"of": run}))
            (tmp_path / run / "metrics.json").write_text("{}")
        assert list(dataset.load().items()) == [
            ("rerec/seed-0/longer", {"of": "rerec/seed-0/longer"}),
            ("sft/seed-1", {"of": "sft/seed-1"}),
        ]

    def test_they_are_only_read(self, tmp_path):
        with pytest.raises(DatasetError, match="only read"):
            ReportsDataset(path=tmp_path.as_posix(), name="abilities.json").save({})
