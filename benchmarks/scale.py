"""Seconds and peak memory of the interaction tables at multiples of MovieLens-1M's size.

    make bench-scale
    python benchmarks/scale.py --multiples 1 10 100 --memory 2GB

Fabricates each size in a temporary folder and runs the pipeline's nodes read_interactions,
ingest_interactions and build_interaction_graph on it, each size in a process of its own. Peak
memory is that of the whole process: Python and its libraries, the engine, and what is read.
100 times MovieLens-1M takes some 10 GB of disk while it runs.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIBRARIES = ("kedro", "ibis-framework", "duckdb", "pyarrow")
HEADER = (
    "| x ML-1M | users | items | interactions | raw file | read | ingest | graph | total | CPU "
    "| peak memory | on disk |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def call(script: str, *arguments: str) -> dict[str, Any]:
    """What a script prints. This process stays small: a child's peak begins with its parent's."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def measure(multiple: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Fabricates one size and runs the nodes on it."""
    with tempfile.TemporaryDirectory(prefix="scale-", dir=asked.folder) as folder:
        size = ["--multiple", str(multiple), "--form", asked.form, "--seed", str(asked.seed)]
        made = call("fabricate.py", folder, *size)
        limits = ["--memory", asked.memory] if asked.memory else []
        limits += ["--threads", str(asked.threads)] if asked.threads else []
        limits += ["--engine", asked.engine]
        return {"multiple": multiple, **made, **call("run_nodes.py", made["path"], *limits)}


def row(result: dict[str, Any]) -> str:
    """One line of the table."""
    seconds = list(result["seconds"].values())
    cells = [
        *(f"{result[key]:,}" for key in ("multiple", "users", "items", "interactions")),
        f"{result['raw_mb']:,.0f} MB",
        *(f"{value:.1f} s" for value in (*seconds, sum(seconds), result["cpu_seconds"])),
        f"{result['peak_mb']:,.0f} MB",
        f"{result['spilled_mb']:,.0f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def heading(asked: argparse.Namespace, start_mb: float) -> str:
    """Date, machine, versions and limits, in words."""
    today = datetime.datetime.now(datetime.UTC).date()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    limit = asked.memory or "conf/base/globals.yml's"
    return (
        f"{today}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}, {versions}. Raw files as {asked.form}; memory limit of the "
        f"engine: {limit}; of the peak, {start_mb:,.0f} MB are there before the first node runs. "
        "CPU: seconds of all cores together, which other work on the machine does not change. On "
        "disk: the most that the engine had put aside for want of memory.\n"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--multiples", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--engine", default="duckdb", help="an entry of conf/base/globals.yml")
    parser.add_argument("--memory", help="memory limit of DuckDB, else that of conf")
    parser.add_argument("--threads", type=int, help="threads of DuckDB, else those of conf")
    parser.add_argument("--form", choices=["parquet", "text"], default="parquet")
    parser.add_argument("--folder", help="where temporary files go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    asked = parser.parse_args()
    results = [measure(multiple, asked) for multiple in asked.multiples]
    if asked.json:
        print(json.dumps(results))
    else:
        print(heading(asked, results[0]["start_mb"]))
        print("\n".join([HEADER, *map(row, results)]))


if __name__ == "__main__":
    main()
