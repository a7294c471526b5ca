"""Tables in an engine: written whole or not at all, checked, previewed; the engine is a setting."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kedro.io import DatasetError
from omegaconf.errors import InterpolationResolutionError

from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.edges import degree_histogram, edge_arrays
from rerec_pipeline.parameters import InteractionParameters
from rerec_pipeline.pipelines.data_engineering import nodes
from rerec_pipeline.recbench.schemas import INTERACTION_EDGES, INTERACTIONS, EngineSchema
from rerec_pipeline.storage.engine import EngineTableDataset
from rerec_pipeline.storage.records import seal

PROJECT = Path(__file__).parents[1]
ROWS = [
    {"user_id": "1", "item_id": 10, "rating": 5, "timestamp": None},
    {"user_id": "é", "item_id": 11, "rating": None, "timestamp": 3},
]
SCHEMA = dict(INTERACTIONS.columns)


@pytest.fixture
def dataset(tmp_path):
    return EngineTableDataset(
        filepath=(tmp_path / "deep" / "interactions.parquet").as_posix(),
        connection={"backend": "duckdb", "temp_directory": (tmp_path / "spill").as_posix()},
        schema="rerec_pipeline.recbench.schemas.INTERACTIONS",
    )


def table(rows):
    return ibis.memtable(rows, schema=SCHEMA)


class TestDataset:
    def test_what_is_saved_is_loaded(self, dataset, tmp_path):
        dataset.save(table(ROWS))
        assert dataset.load().order_by("user_id").to_pyarrow().to_pylist() == ROWS
        assert [p.name for p in (tmp_path / "deep").glob("[!.]*")] == ["interactions.parquet"]

    def test_a_stream_is_written_as_it_comes(self, dataset):
        batches = [pa.RecordBatch.from_pylist([row], self.arrow()) for row in ROWS]
        dataset.save(pa.RecordBatchReader.from_batches(self.arrow(), iter(batches)))
        assert dataset.load().order_by("user_id").to_pyarrow().to_pylist() == ROWS

    def test_a_table_may_be_made_from_its_own_old_file(self, dataset):
        dataset.save(table(ROWS))
        dataset.save(dataset.load().filter(lambda t: t.item_id == 10))
        assert dataset.load().count().execute() == 1

    def test_a_stream_that_breaks_leaves_the_old_file_and_no_rest(self, dataset, tmp_path):
        def batches():
            yield pa.RecordBatch.from_pylist(ROWS[:1], self.arrow())
            raise BadInputError("ratings.dat", "found 'x'", record="line 7", field="Rating")

        dataset.save(table(ROWS))
        with pytest.raises(DatasetError, match="ratings.dat, line 7, field 'Rating': found 'x'"):
            dataset.save(pa.RecordBatchReader.from_batches(self.arrow(), batches()))
        assert dataset.load().count().execute() == 2
        assert [p.name for p in (tmp_path / "deep").glob("[!.]*")] == ["interactions.parquet"]

    def test_a_table_that_is_not_as_it_must_be_never_takes_the_place(self, dataset, tmp_path):
        dataset.save(table(ROWS))
        with pytest.raises(DatasetError, match="field 'user_id': a value is missing"):
            dataset.save(table([{**ROWS[0], "user_id": None}]))
        assert dataset.load().count().execute() == 2
        assert [p.name for p in (tmp_path / "deep").glob("[!.]*")] == ["interactions.parquet"]

    def test_a_folder_of_files_is_one_table(self, dataset, tmp_path):
        """What a distributed engine writes, and DuckDB in place of it afterwards."""
        folder = tmp_path / "deep" / "interactions.parquet"
        folder.mkdir(parents=True)
        for number, row in enumerate(ROWS):
            pq.write_table(pa.Table.from_pylist([row], self.arrow()), folder / f"{number}.parquet")
        (folder / "_SUCCESS").touch()
        seal(folder)
        assert dataset.load().order_by("user_id").to_pyarrow().to_pylist() == ROWS
        dataset.save(table(ROWS[:1]))
        assert folder.is_file() and dataset.load().count().execute() == 1

    def test_a_preview_is_json(self, dataset):
        dataset.save(table(ROWS).order_by("item_id"))
        shown = json.loads(json.dumps(dataset.preview(nrows=1)))
        assert shown == {"index": [0], "columns": list(SCHEMA), "data": [["1", 10, 5, None]]}

    def test_data_sets_of_one_engine_share_its_connection(self, dataset, tmp_path):
        other = EngineTableDataset(
            filepath=(tmp_path / "graph.parquet").as_posix(),
            connection=dict(dataset._connection_config),
            schema="rerec_pipeline.recbench.schemas.INTERACTION_EDGES",
        )
        assert other.connection is dataset.connection

    @staticmethod
    def arrow() -> pa.Schema:
        return ibis.schema(SCHEMA).to_pyarrow()


class TestSchema:
    EDGES = (
        {"user_id": "1", "item_id": 10, "part": "train"},
        {"user_id": "1", "item_id": 11, "part": "validation"},
    )

    def check(self, rows, schema: EngineSchema = INTERACTION_EDGES, **types):
        schema.check(ibis.memtable(rows, schema={**schema.columns, **types}), "file")

    def test_a_good_table(self):
        self.check(list(self.EDGES))
        self.check(ROWS, INTERACTIONS)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"item_id": 10}, "user_id 1, item_id 10 occurs 2 times"),
            ({"part": "test"}, r"field 'part': a value is none of train, validation \(1 rows\)"),
            ({"part": None}, r"field 'part': a value is missing \(1 rows\)"),
            ({"item_id": None}, "field 'item_id': a value is missing"),
        ],
    )
    def test_bad_values(self, change, problem):
        with pytest.raises(BadInputError, match=problem):
            self.check([self.EDGES[0], {**self.EDGES[1], **change}])

    def test_bad_columns(self):
        with pytest.raises(BadInputError, match="expected the columns .*'item_id': 'int64'"):
            self.check(list(self.EDGES), item_id="int32")
        with pytest.raises(BadInputError, match="expected the columns"):
            self.check(list(self.EDGES), more="string")


class TestConfiguration:
    @pytest.fixture
    def conf(self, tmp_path):
        shutil.copytree(PROJECT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
        (tmp_path / "conf/local").mkdir()
        return tmp_path / "conf"

    def connections(self, conf, **runtime):
        loader = ChoicesConfigLoader(
            str(conf), base_env="base", default_run_env="local", runtime_params=runtime,
            merge_strategy={"globals": "soft"},
        )  # fmt: skip
        assert loader["parameters"]["engine"]
        return [
            entry["connection"]
            for name, entry in loader["catalog"].items()
            if "connection" in entry
        ]

    def test_one_setting_names_the_engine_of_every_table(self, conf):
        embedded = self.connections(conf)
        assert [c["backend"] for c in embedded] == ["duckdb"] * 6
        assert embedded[0]["temp_directory"] == f"{conf.parent}/data/.spill"
        (conf / "local/globals.yml").write_text("engine: spark\n")
        assert [c["backend"] for c in self.connections(conf)] == ["pyspark"] * 6

    def test_the_command_line_may_name_it_too(self, conf):
        (one, *_) = self.connections(conf, engine="spark")
        assert one == {"backend": "pyspark", "spark.sql.execution.arrow.pyspark.enabled": "true"}

    def test_a_setting_of_an_engine_can_be_changed_alone(self, conf):
        (conf / "local/globals.yml").write_text("engines: {duckdb: {memory_limit: 9GB}}\n")
        (one, *_) = self.connections(conf)
        assert (one["memory_limit"], one["backend"]) == ("9GB", "duckdb")

    def test_an_engine_that_does_not_exist(self, conf):
        with pytest.raises(InterpolationResolutionError, match="abacus"):
            self.connections(conf, engine="abacus")


class TestExchange:
    """Another engine makes the same tables of the same files, and refuses the same."""

    RATINGS = "".join(
        f"{user}::{item}::{item % 5 + 1}::{user + item}\n"
        for user in range(1, 40)
        for item in range(1, 60)
        if (user * item) % 7 < 5
    )
    QUERIES = pd.DataFrame(
        {"query_id": ["a", "b"], "user_id": ["3", None], "truth_ids": [[2, 10], [3]]}
    )
    SPLITS = pd.DataFrame({"query_id": ["a", "b"], "split": ["test", "validation"]})

    def tables(self, folder, backend):
        """The catalog's three tables, made by the nodes in an engine."""
        entries = {
            "raw": "RAW_INTERACTIONS", "interactions": "INTERACTIONS", "graph": "INTERACTION_EDGES",
        }  # fmt: skip
        raw, interactions, graph = (
            EngineTableDataset(
                filepath=(folder / backend / f"{name}.parquet").as_posix(),
                connection={"backend": backend},
                schema=f"rerec_pipeline.recbench.schemas.{schema}",
            )
            for name, schema in entries.items()
        )
        (folder / "ratings.dat").write_text(self.RATINGS)
        manifest = {"ratings.dat": {"path": str(folder / "ratings.dat")}}
        items = pd.DataFrame({"item_id": range(1, 60), "raw_id": [str(n) for n in range(1, 60)]})
        raw.save(nodes.read_interactions(manifest))
        with pytest.raises(BadInputError) as refused:
            nodes.ingest_interactions(raw.load(), items.iloc[9:], manifest)
        interactions.save(nodes.ingest_interactions(raw.load(), items, manifest))
        config = InteractionParameters(validation_share=0.1, seed=0)
        graph.save(
            nodes.build_interaction_graph(interactions.load(), self.QUERIES, self.SPLITS, config)
        )
        edges = graph.load()
        arrays = edge_arrays(edges, items["item_id"].tolist())
        return {
            "edges": edges.order_by("user_id", "item_id").to_pyarrow().to_pylist(),
            "degrees": degree_histogram(edges).to_pyarrow().to_pylist(),
            "arrays": sorted(zip(*(array.tolist() for array in arrays), strict=True)),
            "refused": str(refused.value),
        }

    def test_duckdb_and_datafusion_agree(self, tmp_path):
        one, other = (self.tables(tmp_path, backend) for backend in ("duckdb", "datafusion"))
        assert one == other
        pairs = {(row["user_id"], row["item_id"]) for row in one["edges"]}
        assert len(pairs) > 1500 and ("3", 3) in pairs
        assert not {("3", 2), ("3", 10)} & pairs
        assert "line 1, field 'ItemID': item 1 is not in the items file" in one["refused"]


def test_memory_does_not_grow_with_the_table():
    """Four times the rows, under a limit that they do not fit in: not four times the memory."""
    script = PROJECT / "benchmarks" / "scale.py"
    command = [sys.executable, str(script), "--multiples", "1", "4", "--memory", "256MB", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    small, large = json.loads(done.stdout)
    assert large["interactions"] > 4 * small["interactions"]
    assert large["spilled_mb"] > 0
    assert large["peak_mb"] - small["peak_mb"] < 400
