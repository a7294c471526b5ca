"""The tables of interactions on a Spark cluster of two workers: the same rows as DuckDB's.

make test-spark              10 times MovieLens-1M
make test-spark MULTIPLE=1
"""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb
import pytest

from tests.test_engine import TestExchange as Exchange

pytestmark = pytest.mark.spark
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MULTIPLE = os.environ.get("MULTIPLE", "10")
ENGINES = ("duckdb", "spark")
HERE = "127.0.0.1"
DEFAULTS = """
spark.master spark://{place}
spark.driver.host {host}
spark.driver.memory 2g
spark.executor.memory 2g
spark.scheduler.minRegisteredResourcesRatio 1.0
spark.scheduler.maxRegisteredResourcesWaitingTime 300s
"""


@contextmanager
def running(own, log, *command):
    """A process of the cluster, ended with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=own, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A master and two workers of a core each; the folders of the workers."""
    import pyspark

    folder, home = tmp_path_factory.mktemp("spark"), Path(pyspark.__file__).parent
    place = f"{HERE}:{free_port()}"
    (folder / "spark-defaults.conf").write_text(DEFAULTS.format(place=place, host=HERE))
    settings = {
        "SPARK_HOME": str(home), "SPARK_CONF_DIR": str(folder), "SPARK_LOCAL_IP": HERE,
        "SPARK_LOCAL_DIRS": str(folder / "local"), "SPARK_DAEMON_MEMORY": "512m",
        "PYSPARK_PYTHON": sys.executable,
    }  # fmt: skip
    own = {**os.environ, **settings}
    start, deploy = [str(home / "bin" / "spark-class")], "org.apache.spark.deploy"
    common = ["--host", HERE, "--webui-port", "0"]
    port = place.rpartition(":")[2]
    workers = [folder / f"worker-{n}" for n in (1, 2)]
    with ExitStack() as ends, pytest.MonkeyPatch.context() as patch:
        master = [*start, f"{deploy}.master.Master", *common, "--port", port]
        ends.enter_context(running(own, folder / "master.log", *master))
        for at in workers:
            command = [
                *start, f"{deploy}.worker.Worker", *common, "--cores", "1", "--memory", "2g",
                "--work-dir", str(at), f"spark://{place}",
            ]  # fmt: skip
            ends.enter_context(running(own, folder / f"{at.name}.log", *command))
        for name, value in settings.items():
            patch.setenv(name, value)
        yield workers


def tasks(worker: Path) -> int:
    """How many tasks a worker has finished."""
    logs = worker.glob("app-*/*/stderr")
    return sum(log.read_text().count("Executor: Finished task") for log in logs)


def test_spark_and_duckdb_agree(cluster, tmp_path):
    """Refused records, edges, degrees and the arrays that LightGCN reads."""
    from pyspark.sql import SparkSession

    try:
        one, other = (Exchange().tables(tmp_path, name) for name in ("duckdb", "pyspark"))
    finally:
        SparkSession.getActiveSession().stop()
    assert one == other and len(one["edges"]) > 1500


def test_the_same_rows_at_the_size_of_real_data(cluster, tmp_path):
    """The nodes as the pipeline runs them; every row is compared, in DuckDB."""
    before = [tasks(worker) for worker in cluster]
    made = call("fabricate.py", tmp_path, "--multiple", MULTIPLE)
    for engine in ENGINES:
        measured = call("run_nodes.py", made["path"], "--engine", engine)
        print(f"{MULTIPLE} x ML-1M, {made['interactions']:,} rows, {engine}:", measured["seconds"])
        assert 0.9 * made["interactions"] < measured["edges"] < made["interactions"]
    assert all(tasks(worker) > done for worker, done in zip(cluster, before, strict=True))
    with duckdb.connect(config={"memory_limit": "3GB", "temp_directory": str(tmp_path)}) as engine:
        for name in ("raw_interactions", "interactions", "interaction_graph"):
            one, other = (tmp_path / "tables" / kind / f"{name}.parquet" for kind in ENGINES)
            tables = f"'{one}'", f"'{other}/*.parquet'" if other.is_dir() else f"'{other}'"
            kinds = [engine.sql(f"DESCRIBE FROM {table}").fetchall() for table in tables]
            assert kinds[0] == kinds[1]
            rows = [engine.sql(f"SELECT count(*) FROM {table}").fetchall() for table in tables]
            apart = f"SELECT count(*) FROM ((FROM {tables[0]}) EXCEPT ALL (FROM {tables[1]}))"
            assert rows[0] == rows[1] and engine.sql(apart).fetchall() == [(0,)]


def call(script: str, *arguments) -> dict:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
