"""Where MLflow's records go: the address, the database, the experiments."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from rerec_pipeline.storage.writing import remove, swap_in, temporary

#: Added to the name of the experiment of runs that neither train nor evaluate.
UTILITIES = "-utilities"

_SQLITE = "sqlite:///"
#: MLflow waits for minutes by default; a server that does not answer must not hold up a training.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


@dataclass(frozen=True)
class Store:
    """A tracking store that answered.

    Attributes:
        client: Its client.
        uri: Its address, without a password.
        experiments: Name -> id.
    """

    client: MlflowClient
    uri: str
    experiments: Mapping[str, str]


def address(configured: str) -> str:
    """The address of the store: ``MLFLOW_TRACKING_URI`` of the environment comes first."""
    return os.environ.get("MLFLOW_TRACKING_URI") or configured


def without_password(text: str) -> str:
    """A text whose URLs have neither user names nor passwords."""
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1", text)


def connect(uri: str, name: str, artifacts: str | None) -> Store:
    """Connects to a store, and makes what is missing of it.

    A local database is made beside its place and renamed, under a lock, so that neither a second
    process nor a kill ever leaves a part of one.

    Args:
        uri: Its address.
        name: The experiment of trainings and evaluations.
        artifacts: Where files of a local store go; a server knows that itself.

    Raises:
        Exception: Whatever MLflow raises of a store that can not be used.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # not what it does to its tables
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a tracker says that there is no answer
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)
    local = uri.startswith(_SQLITE)
    folder = Path(artifacts).resolve().as_uri() if artifacts and local else None
    with _lock(Path(uri.removeprefix(_SQLITE))) if local else _unlocked():
        if local:
            _make_database(Path(uri.removeprefix(_SQLITE)), name, folder)
        client = MlflowClient(uri)
        ids = {n: _experiment(client, n, folder) for n in (name, f"{name}{UTILITIES}")}
    return Store(client, without_password(uri), ids)


@contextmanager
def _lock(database: Path) -> Iterator[None]:
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_name(f".{database.name}.lock")):
        yield


@contextmanager
def _unlocked() -> Iterator[None]:
    yield


def _make_database(database: Path, name: str, artifacts: str | None) -> None:
    """Makes a database where there is none, or lets one that was moved find its files again."""
    if database.exists():
        if artifacts is not None:
            _follow_files(database, name, artifacts)
        return
    beside = temporary(database)
    try:
        store = SqlAlchemyStore(f"{_SQLITE}{beside}", database.with_name("mlartifacts").as_uri())
        store.engine.dispose()
        swap_in(beside, database)
    finally:
        for path in (beside, *(beside.with_name(f"{beside.name}{e}") for e in ("-wal", "-shm"))):
            remove(path)


def _follow_files(database: Path, name: str, artifacts: str) -> None:
    """MLflow keeps absolute addresses of files: those of a project that has moved are put right."""
    with closing(sqlite3.connect(database)) as connection, connection:
        known = "SELECT artifact_location FROM experiments WHERE name = ?"
        row = connection.execute(known, (name,)).fetchone()
        old = row[0].rstrip("/") if row and row[0] else artifacts
        if old == artifacts or not (_folder(artifacts).exists() or not _folder(old).exists()):
            return  # not moved: another folder was chosen, for experiments to come
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE substr({column}, 1, ?) = ?",
                (artifacts, len(old) + 1, len(old), old),
            )


def _folder(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=artifacts))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def shown_at(uri: str, page: str) -> str:
    """Where a page of MLflow's can be opened: at its server, else where ``make ui`` serves it."""
    if uri.startswith(("http://", "https://")):
        return f"{without_password(uri).rstrip('/')}/{page}"
    return f"http://127.0.0.1:5000/{page} (after: make ui)"


def as_text(values: Mapping[str, Any], most: int = 6000) -> dict[str, str]:
    """Names and values as MLflow takes them: allowed characters, texts that are not too long."""
    return {
        re.sub(r"[^/\w.\- :]", "_", str(key)): without_password(str(value))[:most]
        for key, value in values.items()
    }
