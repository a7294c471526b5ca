"""What a run tells MLflow, kept in files while MLflow can not take it.

Each run has a folder, ``data/.tracking/<key>``. ``run.json`` says which MLflow run it is, so that
the same command continues it. ``journal.jsonl`` holds what could not be sent, in order; files of
it are hard links, which take no space and stay what they are when an output is replaced. No path
of the machine is in it: a clone that is moved sends what it has kept.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from rerec_pipeline.storage.writing import append_line, link, remove, write_bytes

Entry = dict[str, Any]

_BATCH = 100  # parameters MLflow takes at once
_POINTS = 500  # metrics
#: Errors of a request that is wrong: it is not better later.
_WRONG = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")


class Journal:
    """The folder of one run.

    Args:
        folder: ``data/.tracking/<key>``.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._file = folder / "journal.jsonl"

    @property
    def state(self) -> dict[str, Any]:
        """What is known of the run: ``run_id``, ``uri``, ``pid``, ``host``; empty at first."""
        try:
            return dict(json.loads((self.folder / "run.json").read_bytes()))
        except (FileNotFoundError, ValueError):
            return {}

    def own(self, **values: Any) -> None:
        """Notes what is known of the run, and that this process works on it."""
        mine = {"pid": os.getpid(), "host": socket.gethostname()}
        write_bytes(self.folder / "run.json", json.dumps({**self.state, **values, **mine}).encode())

    def is_left(self) -> bool:
        """Whether the process that worked on it is no more."""
        state = self.state
        return state.get("host") == socket.gethostname() and not (
            state["pid"] == os.getpid() or psutil.pid_exists(state["pid"])
        )

    def __len__(self) -> int:
        return sum(1 for _ in self._entries())

    def add(self, entry: Entry) -> None:
        """Keeps an entry, and the file or folder that it is about."""
        if entry["what"] == "artifact":
            kept = self.folder / "files" / str(len(self)) / Path(entry["path"]).name
            link(Path(entry["path"]), kept)
            entry = {**entry, "path": kept.relative_to(self.folder).as_posix()}
        append_line(self._file, json.dumps(entry))

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Sends what is kept; what was sent is not sent again.

        Raises:
            Exception: Whatever MLflow raises; the rest stays.
        """
        entries = [*self._entries()]
        for n, entry in enumerate(entries):
            place = {"path": str(self.folder / entry["path"])} if "path" in entry else {}
            apply(client, run_id, {**entry, **place})
            rest = "".join(f"{json.dumps(e)}\n" for e in entries[n + 1 :])
            write_bytes(self._file, rest.encode())
        remove(self._file)
        remove(self.folder / "files")

    def _entries(self) -> Iterator[Entry]:
        if self._file.is_file():
            for line in self._file.read_text(encoding="utf-8").splitlines():
                try:
                    yield json.loads(line)
                except ValueError:  # the last line of a process that was killed
                    return


def apply(client: MlflowClient, run_id: str, entry: Mapping[str, Any]) -> None:
    """Sends one entry. What MLflow says is wrong with it would be so later, too: it is left out.

    Raises:
        Exception: Whatever MLflow raises of a store that does not answer.
    """
    try:
        _SENDERS[entry["what"]](client, run_id, entry)
    except MlflowException as exc:
        if exc.error_code not in _WRONG:
            raise
    except FileNotFoundError:  # an output that was removed since
        return


def _params(client: MlflowClient, run_id: str, entry: Mapping[str, Any]) -> None:
    rows = [Param(*row) for row in entry["values"].items()]
    for start in range(0, len(rows), _BATCH):
        client.log_batch(run_id, params=rows[start : start + _BATCH])


def _tags(client: MlflowClient, run_id: str, entry: Mapping[str, Any]) -> None:
    client.log_batch(run_id, tags=[RunTag(*row) for row in entry["values"].items()])


def _metrics(client: MlflowClient, run_id: str, entry: Mapping[str, Any]) -> None:
    rows = [Metric(*row) for row in entry["values"]]
    for start in range(0, len(rows), _POINTS):
        client.log_batch(run_id, metrics=rows[start : start + _POINTS])


def _artifact(client: MlflowClient, run_id: str, entry: Mapping[str, Any]) -> None:
    path = Path(entry["path"])
    if path.is_dir():
        client.log_artifacts(run_id, str(path), f"{entry['place']}/{path.name}")
    else:
        client.log_artifact(run_id, str(path), entry["place"])


def _dataset(client: MlflowClient, run_id: str, entry: Mapping[str, Any]) -> None:
    tag = InputTag("mlflow.data.context", entry["context"])
    client.log_inputs(run_id, [DatasetInput(Dataset(**entry["values"]), [tag])])


def _end(client: MlflowClient, run_id: str, entry: Mapping[str, Any]) -> None:
    client.set_terminated(run_id, entry["status"], entry["time"])


_SENDERS = {
    "params": _params,
    "tags": _tags,
    "metrics": _metrics,
    "artifact": _artifact,
    "dataset": _dataset,
    "end": _end,
}
