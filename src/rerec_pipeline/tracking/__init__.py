"""What is logged to MLflow beyond kedro-mlflow: per-step metrics, tags, numbers of reports."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from transformers import TrainerCallback

from rerec_pipeline.storage.writing import write_bytes
from rerec_pipeline.tracking.store import address, shown_at
from rerec_pipeline.tracking.tracker import Tracker

#: Metrics are sent in portions: one write to the tracking store per step would cost more than
#: everything else that ReRec adds to a step.
_PORTION = 500
#: But curves are seen while a run trains.
_INTERVAL = 30.0


class MlflowStepLogger(TrainerCallback):
    """Logs every training step to the MLflow run of this process, if there is one.

    Trainers' own MLflow callback dumps hundreds of parameters and cannot serve two trainers in
    one run; this one logs numbers only, each under a prefix.

    Args:
        prefix: Put before every name, e.g. ``rft``.
    """

    def __init__(self, prefix: str):
        self.prefix = prefix
        self._waiting: list[tuple[str, float, int, int]] = []
        self._sent = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Takes in the numbers of one step."""
        if Tracker.current is None or not state.is_world_process_zero:
            return
        now = int(time.time() * 1000)
        for name, value in (logs or {}).items():
            if isinstance(value, int | float) and math.isfinite(value):
                key = f"{self.prefix}/{name}"
                self._waiting.append((key, float(value), now, state.global_step))
        if len(self._waiting) >= _PORTION or time.monotonic() - self._sent > _INTERVAL:
            self.flush()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Sends what is left."""
        self.flush()

    def flush(self) -> None:
        """Sends all waiting metrics."""
        if Tracker.current is not None:
            Tracker.current.metrics(self._waiting)
        self._waiting, self._sent = [], time.monotonic()


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


#: Environment variable that tells a run which cell of which experiment it is.
NOTE = "REREC_CELL"


@dataclass(frozen=True)
class RunNote:
    """What the MLflow run of a cell gets: its experiment, its name, and a file for its id.

    It reaches the run through the environment, because no result depends on it.

    Attributes:
        group: The experiment.
        cell: The cell.
        id_file: Gets the id of the run. A run whose id it has already is resumed.
        replaces: The run of an earlier attempt, which leaves the group.
    """

    group: str
    cell: str
    id_file: Path
    replaces: str | None = None

    def as_environment(self) -> dict[str, str]:
        """What to add to the environment of the process that is to read it."""
        return {NOTE: json.dumps(asdict(self), default=str)}

    @classmethod
    def from_environment(cls) -> RunNote | None:
        """The note of this process; None outside of an experiment."""
        text = os.environ.get(NOTE)
        if text is None:
            return None
        values = json.loads(text)
        return cls(**{**values, "id_file": Path(values["id_file"])})

    def find_begun(self) -> str | None:
        """The run that an interrupted attempt has begun, if MLflow still has it."""
        if not self.id_file.is_file():
            return None
        run_id = self.id_file.read_text().strip()
        return run_id if _has_run(MlflowClient(), run_id) else None

    def tag_active_run(self) -> None:
        """Tags the active run, leaves its id, and takes what it replaces out of the group."""
        run = mlflow.active_run()
        if run is None:
            return
        mlflow.set_tags({GROUP: self.group, "cell": self.cell})
        write_bytes(self.id_file, run.info.run_id.encode())
        client = MlflowClient()
        if self.replaces is not None and _has_run(client, self.replaces):
            groups = client.get_run(self.replaces).data.tags.get(GROUP, "")
            client.set_tag(self.replaces, GROUP, "")
            client.set_tag(self.replaces, "replaced_in", groups)


#: Tag with the experiments that a run is a cell of, separated by commas.
GROUP = "experiment_group"


def client_of(configuration: Mapping[str, Any]) -> MlflowClient:
    """A client of the store that the environment names, or else ``mlflow.yml``."""
    server = configuration.get("server") or {}
    return MlflowClient(address(server.get("mlflow_tracking_uri") or "") or None)


def add_to_group(client: MlflowClient, run_id: str | None, group: str) -> None:
    """Makes a finished run a cell of one more experiment."""
    if run_id is None or not _has_run(client, run_id):
        return
    groups = client.get_run(run_id).data.tags.get(GROUP, "")
    names = [name for name in groups.split(",") if name]
    if group not in names:
        client.set_tag(run_id, GROUP, ",".join([*names, group]))


def comparison_link(client: MlflowClient, run_ids: Sequence[str]) -> str | None:
    """Where MLflow's pages compare some runs; None if it has none of them."""
    runs = [client.get_run(run_id) for run_id in run_ids if _has_run(client, run_id)]
    if not runs:
        return None
    experiments = sorted({run.info.experiment_id for run in runs})
    ids = [run.info.run_id for run in runs]
    said = (quote(json.dumps(part, separators=(",", ":"))) for part in (ids, experiments))
    page = "#/compare-runs?runs={}&experiments={}".format(*said)
    return shown_at(client.tracking_uri, page)


def _has_run(client: MlflowClient, run_id: str) -> bool:
    try:
        client.get_run(run_id)
    except MlflowException:
        return False
    return True


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
