"""One MLflow run, which can fail to be told something but never makes a training fail."""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow

from rerec_pipeline.storage.writing import remove
from rerec_pipeline.tracking.journal import Entry, Journal, apply
from rerec_pipeline.tracking.store import Store, as_text, shown_at, without_password

logger = logging.getLogger(__name__)

#: A store that needs longer for one request (files excepted) is not asked until the run ends.
SLOW = 10.0

Connect = Callable[[], Store]


class Tracker:
    """Tells MLflow about one run; what MLflow can not take now is kept and sent later.

    Args:
        connect: Connects to the store.
        folder: ``data/.tracking``.
        key: Of the run: the same for the same command.
        uri: The address of the store, without a password and without the project's folder.
    """

    #: The run that this process works on, and the one that it ended last.
    current: Tracker | None = None
    last: Tracker | None = None

    def __init__(self, connect: Connect, folder: Path, key: str, uri: str):
        self._connect, self._root, self._uri = connect, folder, uri
        self._journal = Journal(folder / key)
        self._store: Store | None = None
        self._ended = False
        self._experiment = ""
        self.run_id: str | None = None
        self.problem = ""

    def begin(
        self, experiment: str, name: str, tags: Mapping[str, Any], run_id: str | None = None
    ) -> None:
        """Starts the run, or continues that of an interrupted attempt.

        Args:
            experiment: Name of its experiment.
            name: Its own.
            tags: What tells it from others.
            run_id: The run to continue; else the one that the folder names, if any.
        """
        if Tracker.current is not None:  # of an interrupted session in the same process
            Tracker.current.end("KILLED")
        Tracker.current = self
        self._experiment = experiment
        try:
            self._journal.own(uri=self._uri, experiment=experiment, name=name, settled=False)
        except OSError as exc:
            logger.warning("%s can not be written: %s", self._journal.folder, exc)
        self.guard(lambda: self._start(name, run_id))
        self._send({"what": "tags", "values": as_text({**tags, "mlflow.runName": name}, 5000)})
        atexit.register(self.end, "KILLED")

    def params(self, values: Mapping[str, Any]) -> None:
        """Tells parameters by their flat names."""
        self._send({"what": "params", "values": as_text(values)})

    def tags(self, values: Mapping[str, Any]) -> None:
        """Tells tags."""
        self._send({"what": "tags", "values": as_text(values, 5000)})

    def metrics(self, values: Mapping[str, float] | Sequence[tuple[str, float, int, int]]) -> None:
        """Tells numbers: by name, or as (name, value, milliseconds, step)."""
        if isinstance(values, Mapping):
            now = int(time.time() * 1000)
            values = [(name, value, now, 0) for name, value in values.items()]
        if values:
            self._send({"what": "metrics", "values": [[*row] for row in values]})

    def artifact(self, path: Path, place: str) -> None:
        """Tells a file, or a folder with all that is in it."""
        self._send({"what": "artifact", "path": str(path), "place": place})

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Tells which data the run works on."""
        values = {"name": name, "digest": digest[:8], "source_type": "local", "source": source}
        self._send({"what": "dataset", "values": values, "context": context})

    def end(self, status: str) -> None:
        """Ends the run, once: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if self._ended:
            return
        self._ended = True
        Tracker.current, Tracker.last = None, self
        atexit.unregister(self.end)
        self._send({"what": "end", "status": status, "time": int(time.time() * 1000)})
        with suppress(Exception):  # MLflow would end it as finished when the process ends
            mlflow.end_run(status)
        if self.problem:
            self._try_again()
        if status == "FINISHED" and not self.problem:
            remove(self._journal.folder)

    @property
    def address(self) -> str | None:
        """Where MLflow shows the run; None if MLflow does not know it."""
        if self._store is None or self.run_id is None:
            return None
        experiment = self._store.experiments[self._experiment]
        return shown_at(self._uri, f"#/experiments/{experiment}/runs/{self.run_id}/model-metrics")

    def _start(self, name: str, run_id: str | None) -> None:
        self._store = self._connect()
        client = self._store.client
        self._send_left()
        state = self._journal.state
        known = run_id or (state.get("run_id") if state.get("uri") == self._uri else None)
        if known is None or not _exists(client, known):
            experiment = self._store.experiments[self._experiment]
            known = client.create_run(experiment, run_name=name).info.run_id
        self.run_id = known
        self._journal.own(run_id=known)
        self._journal.send(client, known)
        mlflow.start_run(run_id=known, nested=mlflow.active_run() is not None)

    def _send(self, entry: Entry) -> None:
        if not self.problem:
            began = time.monotonic()
            self.guard(lambda: apply(self._client, str(self.run_id), entry))
            if not self.problem:
                if (took := time.monotonic() - began) > SLOW and entry["what"] != "artifact":
                    self._leave(f"it needed {took:.0f} s for one request")
                return
        try:
            self._journal.add(entry)
        except OSError as exc:  # a full disk: MLflow misses it, the run goes on
            logger.warning("MLflow is not told %s: %s", entry["what"], exc)

    @property
    def _client(self) -> mlflow.MlflowClient:
        assert self._store is not None
        return self._store.client

    def guard(self, action: Callable[[], None]) -> None:
        """Does what needs MLflow; an error of whatever kind is no reason to end a training."""
        try:
            action()
        except Exception as exc:
            self._leave(_in_short(exc))

    def _leave(self, why: str) -> None:
        self.problem = why
        logger.warning("MLflow (%s) can not be told about this run now: %s", self._uri, why)

    def _try_again(self) -> None:
        """At the end of the run: the store may be back."""
        try:
            store = self._store or self._connect()
            if self.run_id is None:
                experiment = store.experiments[self._experiment]
                name = self._journal.state["name"]
                self.run_id = store.client.create_run(experiment, run_name=name).info.run_id
                self._journal.own(run_id=self.run_id)
            self._store = store
            self._journal.send(store.client, str(self.run_id))
            self.problem = ""
            logger.info("MLflow has been told all about this run after all")
        except Exception as exc:
            logger.warning(
                "MLflow (%s) could not be told %d things about this run (%s). They are kept in %s, "
                "and the next run sends them.",
                *(self._uri, len(self._journal)),
                _in_short(exc),
                self._journal.folder,
            )

    def _send_left(self) -> None:
        """Sends what other runs have left, and marks those that were killed."""
        assert self._store is not None
        for folder in sorted(self._root.glob("*/")):
            left = Journal(folder)
            state = left.state
            if (
                folder == self._journal.folder
                or state.get("uri") != self._uri
                or not left.is_left()
            ):
                continue
            if state.get("settled") and not len(left):
                continue
            client, run_id = self._store.client, state.get("run_id")
            if run_id is None or not _exists(client, run_id):
                experiment = self._store.experiments[state["experiment"]]
                run_id = client.create_run(experiment, run_name=state["name"]).info.run_id
                left.own(run_id=run_id)
            left.send(client, run_id)
            status = client.get_run(run_id).info.status
            if status == "RUNNING":
                client.set_terminated(run_id, "KILLED")
            if status == "FINISHED":
                remove(folder)
            else:  # the same command continues it
                left.own(settled=True)


def _exists(client: mlflow.MlflowClient, run_id: str) -> bool:
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except mlflow.MlflowException as exc:
        if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _in_short(error: Exception) -> str:
    """The beginning of what MLflow says, without passwords: a line at most."""
    said = (without_password(str(error)).strip() or type(error).__name__).splitlines()[0]
    return said if len(said) <= 160 else f"{said[:160]}..."
