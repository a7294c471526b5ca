"""Runs the nodes that make the interaction graph, as the pipeline does, and measures them.

Their input is a folder that ``fabricate.py`` has written. The engine is that of conf/base/
globals.yml or another entry there, DuckDB with a memory limit and threads of one's own where they
are given.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.pipelines.data_engineering import create_pipeline
from rerec_pipeline.recbench import ratings

PROJECT = Path(__file__).parents[1]
TABLES = ("raw_interactions", "interactions", "interaction_graph")
NODES = ("read_interactions", "ingest_interactions", "build_interaction_graph")
QUERIES = 34_494  # of the published benchmark


def peak_mb() -> float:
    """Most resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class SpillWatch(threading.Thread):
    """Notes the largest size of the engine's folder of temporary files."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.folder = folder
        self.largest = 0

    def run(self) -> None:
        """Looks five times a second."""
        while True:
            size = 0
            for path in self.folder.glob("*"):
                try:
                    size += path.stat().st_size
                except FileNotFoundError:  # the engine has just done with it
                    continue
            self.largest = max(self.largest, size)
            time.sleep(0.2)


def asked_queries(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As many queries as were published, each for an interaction that there is; and splits."""
    batch = next(ratings.read_interactions(path)).to_pandas()
    rows = batch.iloc[np.linspace(0, len(batch) - 1, QUERIES).astype(int)]
    names = [f"q{n}" for n in range(QUERIES)]
    truths = [[int(item)] for item in rows["item"]]
    queries = pd.DataFrame(
        {"query_id": names, "user_id": rows["user_id"].tolist(), "truth_ids": truths}
    )
    split = np.array(["train", "validation", "test"])[np.digitize(np.arange(QUERIES) % 10, [7, 8])]
    return queries, pd.DataFrame({"query_id": names, "split": split})


def make_catalog(folder: Path, raw: Path, engine: str, settings: dict[str, Any]) -> DataCatalog:
    """The project's entries of the three tables, in another folder; the rest in memory."""
    loader = ChoicesConfigLoader(
        str(PROJECT / "conf"), base_env="base", default_run_env="base",
        runtime_params={"engine": engine},
    )  # fmt: skip
    entries = {name: dict(loader["catalog"][name]) for name in TABLES}
    for name, entry in entries.items():
        entry["filepath"] = (folder / "tables" / engine / f"{name}.parquet").as_posix()
        entry["connection"] = {**entry["connection"], **settings}
    queries, splits = asked_queries(raw)
    inputs = {
        "raw_manifest": {raw.name: {"path": str(raw)}},
        "items": pd.read_parquet(folder / "items.parquet"),
        "queries": queries,
        "splits": splits,
        "params:interactions": loader["parameters"]["interactions"],
    }
    catalog = DataCatalog.from_config(entries)
    for name, value in inputs.items():
        catalog[name] = MemoryDataset(value, copy_mode="assign")
    return catalog


def main() -> None:
    """Prints seconds of each node and memory as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, help="interactions.parquet or ratings.dat")
    parser.add_argument("--engine", default="duckdb", help="an entry of conf/base/globals.yml")
    parser.add_argument("--memory", help="memory limit of the engine")
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    folder = asked.raw.parent
    given = {"memory_limit": asked.memory, "threads": asked.threads}
    spill = folder / "spill"
    settings = {key: value for key, value in given.items() if value is not None}
    if asked.engine == "duckdb":
        settings["temp_directory"] = spill.as_posix()
    catalog = make_catalog(folder, asked.raw, asked.engine, settings)
    watch = SpillWatch(spill)
    watch.start()
    SequentialRunner().run(Pipeline([]), catalog)  # imports what a run of Kedro needs
    start_cpu = time.process_time()
    measured: dict[str, Any] = {"start_mb": peak_mb(), "seconds": {}, "peaks_mb": {}}
    for name in NODES:
        start = time.perf_counter()
        SequentialRunner().run(create_pipeline().only_nodes(name), catalog)
        measured["seconds"][name] = time.perf_counter() - start
        measured["peaks_mb"][name] = peak_mb()
    measured["cpu_seconds"] = time.process_time() - start_cpu
    edges = pq.ParquetDataset(folder / "tables" / asked.engine / "interaction_graph.parquet")
    edges = sum(fragment.count_rows() for fragment in edges.fragments)
    print(json.dumps({**measured, "peak_mb": peak_mb(), "spilled_mb": watch.largest / 1e6,
                      "edges": edges}))  # fmt: skip


if __name__ == "__main__":
    main()
