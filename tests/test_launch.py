"""Several processes, one set of results: what is done where, seen from one process at a time."""

import pytest
import torch.distributed as dist
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from rerec_pipeline import processes
from rerec_pipeline.errors import BadParameterError, ReRecError
from rerec_pipeline.hooks.launch import LaunchHooks
from rerec_pipeline.hooks.mlflow import MlflowHooks
from rerec_pipeline.hooks.summary import SummaryHooks
from rerec_pipeline.storage.datasets import AtomicJSONDataset


def identity(value):
    return value


@pytest.fixture
def catalog(tmp_path):
    return DataCatalog(
        {
            "kept": AtomicJSONDataset(filepath=(tmp_path / "kept.json").as_posix()),
            "passed": MemoryDataset(),
            "base_policy": MemoryDataset(),
        }
    )


PIPELINE = Pipeline(
    [Node(identity, "raw", "kept", name="keep"), Node(identity, "kept", "passed", name="pass")]
)


def launch(monkeypatch, rank, count=2):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(count))


class TestWithoutALauncher:
    def test_there_is_one_process_and_nothing_is_waited_for(self, monkeypatch):
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        assert processes.count() == 1 and processes.is_main()
        processes.join()
        processes.wait_for_all("anywhere")
        assert not dist.is_initialized()


class TestSaving:
    def test_the_main_process_saves(self, catalog, monkeypatch):
        launch(monkeypatch, 0)
        LaunchHooks().before_pipeline_run(PIPELINE, catalog)
        catalog.save("kept", {"a": 1})
        catalog.save("passed", 2)
        assert catalog.load("kept") == {"a": 1} and catalog.load("passed") == 2

    def test_others_keep_what_stays_in_memory_and_leave_files_alone(self, catalog, monkeypatch):
        catalog.save("kept", {"of": "main"})
        launch(monkeypatch, 1)
        LaunchHooks().before_pipeline_run(PIPELINE, catalog)
        catalog.save("kept", {"of": "another"})
        catalog.save("passed", 2)
        assert catalog.load("kept") == {"of": "main"} and catalog.load("passed") == 2

    def test_the_base_policy_is_not_made_by_several(self, catalog, monkeypatch):
        launch(monkeypatch, 0)
        pipeline = Pipeline([Node(identity, "raw", "base_policy", name="make")])
        with pytest.raises(BadParameterError, match="without a launcher"):
            LaunchHooks().before_pipeline_run(pipeline, catalog)


class TestTelling:
    def test_only_the_main_process_talks_to_mlflow_and_to_the_user(self, catalog, monkeypatch):
        """No context, no run parameters: had they been looked at, this would fail."""
        launch(monkeypatch, 1)
        hooks = MlflowHooks()
        hooks.after_context_created(None)
        hooks.before_pipeline_run(None, PIPELINE, catalog)
        assert hooks._run is None
        SummaryHooks().after_pipeline_run(None, None, catalog)


class TestWaiting:
    def gathered(self, monkeypatch, elsewhere):
        def gather(places, here):
            places[:] = [here, elsewhere]

        launch(monkeypatch, 0)
        monkeypatch.setattr(dist, "all_gather_object", gather)

    def test_at_the_same_place(self, monkeypatch):
        self.gathered(monkeypatch, "before fine_tune")
        processes.wait_for_all("before fine_tune")

    def test_processes_that_have_parted_are_stopped(self, monkeypatch):
        self.gathered(monkeypatch, "before answer_after")
        with pytest.raises(ReRecError, match="have parted: .*fine_tune.*answer_after"):
            processes.wait_for_all("before fine_tune")
