"""What MLflow is told beyond kedro-mlflow: per-step metrics, tags, flat numbers of a report."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric
from transformers import TrainerCallback

#: Metrics are sent in portions: one write to the tracking store per step would cost more than
#: everything else that ReRec adds to a step.
_PORTION = 500


class MlflowStepLogger(TrainerCallback):
    """Logs every training step to the active MLflow run, if there is one.

    Trainers' own MLflow callback dumps hundreds of parameters and cannot serve two trainers in
    one run; this one logs numbers only, each under a prefix.

    Args:
        prefix: Put before every name, e.g. ``rft``.
    """

    def __init__(self, prefix: str):
        self.prefix = prefix
        self._waiting: list[Metric] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Takes in the numbers of one step."""
        if mlflow.active_run() is None or not state.is_world_process_zero:
            return
        now = int(time.time() * 1000)
        for name, value in (logs or {}).items():
            if isinstance(value, int | float) and math.isfinite(value):
                key = f"{self.prefix}/{name}"
                self._waiting.append(Metric(key, float(value), now, state.global_step))
        if len(self._waiting) >= _PORTION:
            self.flush()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Sends what is left."""
        self.flush()

    def flush(self) -> None:
        """Sends all waiting metrics."""
        run = mlflow.active_run()
        if run is not None and self._waiting:
            client = mlflow.MlflowClient()
            for start in range(0, len(self._waiting), _PORTION):
                portion = self._waiting[start : start + _PORTION]
                client.log_batch(run.info.run_id, metrics=portion)
        self._waiting = []


def flat_numbers(report: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The numbers of a nested report under names that say where they stood.

    Lists (intervals, histories) are left out: they are in the report itself.
    """
    return dict(_numbers(report, prefix))


def _numbers(report: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in report.items():
        name = f"{prefix}/{key}".replace("@", "_at_")
        if isinstance(value, Mapping):
            yield from _numbers(value, name)
        elif isinstance(value, int | float) and math.isfinite(value):
            yield name, float(value)


def git_commit(project: Path) -> str:
    """The commit of the code, with ``-dirty`` where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
