"""Cells of an experiment as their runs would leave them, made up instead of trained."""

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from rerec_pipeline.parameters import folder_of_split

TYPES = ("explicit", "implicit", "misinformed", "interest")


def outcomes(cell: dict, accuracy: float, queries: int) -> pd.DataFrame:
    """Outcomes of a cell: before, each query as in all cells; after, right at a given rate."""
    n = np.arange(queries)
    hard = np.random.default_rng(0).random(queries)  # of the query: the same in all cells
    own = np.random.default_rng(zlib.crc32(cell["run"].encode())).random((3, queries))
    tells = cell["variant"] != "sft"
    stages = []
    for stage, right, luck in (("before", 0.25, hard), ("after", accuracy, own[0])):
        facts = np.full(queries, 4 if tells or stage == "before" else 0)
        stages.append(
            pd.DataFrame(
                {
                    "query_id": [f"q{i:03d}" for i in n],
                    "query_type": [TYPES[i % len(TYPES)] for i in n],
                    "cluster": n,
                    "stage": stage,
                    "correct": 0.5 * hard + 0.5 * luck < right,
                    "boxed": True,
                    "facts_stated": facts,
                    "facts_confirmed": np.maximum(facts - (own[1] < 0.1), 0),
                    "verdicts_stated": np.minimum(facts, 1),
                    "verdicts_true": np.minimum(facts, 1) * (own[2] < 0.65),
                }
            )
        )
    return pd.concat(stages, ignore_index=True)


def write(project: Path, cells: list[dict], name: str = "experiment", **setting) -> Path:
    """Writes an experiment; each cell: variant, seed, accuracy, and what differs from the usual."""
    listed = []
    for given in cells:
        cell = {
            "label": "", "changes": {}, "state": "finished", "error": None, "mlflow_run_id": None,
            "fingerprint": "f", "seconds": 200.0, **given,
        }  # fmt: skip
        accuracy, queries = cell.pop("accuracy", 0.6), cell.pop("queries", 60)
        parts = ("sample_book", "tiny", cell["variant"], f"seed-{cell['seed']}", cell["label"])
        cell["run"] = "/".join(part for part in parts if part)
        listed.append(cell)
        if cell["state"] == "finished":
            write_cell(
                project,
                cell,
                accuracy,
                queries,
                folder_of_split(setting.get("split", "test")),
            )
    target = project / "data/08_reporting/experiments" / name / "cells.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    about = {"name": name, "dataset": "sample_book", "backbone": "tiny", "split": "test", **setting}
    target.write_text(json.dumps({**about, "cells": listed}))
    return target


def write_cell(project: Path, cell: dict, accuracy: float, queries: int, asked: str) -> None:
    """What the run of one cell leaves."""
    output = project / "data/07_model_output" / cell["run"]
    report = project / "data/08_reporting" / cell["run"]
    for folder in (output, report):
        (folder / asked).mkdir(parents=True)
    outcomes(cell, accuracy, queries).to_parquet(output / asked / "outcomes.parquet")
    supervised, steps = cell["variant"] == "sft", 30
    noise = np.random.default_rng(cell["seed"]).normal(0, 0.05, steps)
    curve = np.clip(np.linspace(0.25, accuracy, steps) + noise, 0, 1)
    column = "mean_token_accuracy" if supervised else "accuracy"
    pd.DataFrame({column: curve, "step_time": 1.0}).to_parquet(output / "training_log.parquet")
    summary = {
        "algorithm": "sft" if supervised else "grpo", "steps": steps, "samples": steps * 64,
        "rollouts": 0 if supervised else steps * 64, "tokens": 600_000, "token_passes": 3_000_000,
        "seconds": 150.0 + cell["seed"], "peak_memory_bytes": 10**9 + cell["seed"],
    }  # fmt: skip
    (output / "training_summary.json").write_text(json.dumps(summary))
    row = {"accuracy": 0.2, "n": queries, "interval": [0.1, 0.3]}
    popular = {**row, "by_type": {"explicit": row}, "policy_there": 0.5}
    metrics = {"baselines": {"random": {"accuracy": 0.05}, "popularity": popular}}
    (report / asked / "metrics.json").write_text(json.dumps(metrics))
