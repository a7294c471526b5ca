"""Fetching what is public of RecBench+: a file is whole and verified, or it is not there.

A file gets its name when all of it has arrived and it is what it should be. ``checksums.json``
beside the files holds the SHA-256 of each at its first sight (trust on first use); from then on
the file has to match it, on the disk and when it is fetched again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import requests
from pydantic import Field, TypeAdapter, ValidationError, field_validator
from requests.adapters import HTTPAdapter
from requests.utils import get_auth_from_url, urldefragauth
from tqdm import tqdm
from urllib3.util import Retry

from rerec_pipeline.configs import Config
from rerec_pipeline.errors import BadInputError, BadParameterError
from rerec_pipeline.parameters import explain
from rerec_pipeline.recbench.raw import INTERACTION_FILES, data_folder
from rerec_pipeline.recbench.records import QUERY_FILES
from rerec_pipeline.storage.writing import (
    open_to_append,
    remove,
    swap_in,
    temporary,
    tidy,
    write_bytes,
)

Domain = Literal["movie", "book"]
State = Literal["there", "fetched", "failed", "by hand", "optional"]

CHECKSUMS = "checksums.json"
_BLOCK = 1 << 16


class FileConfig(Config):
    """A file that is fetched.

    Attributes:
        paths: Where it is under the base URL; the first that the server has is taken.
        git_blob: The id that git gives its content; null takes what comes first.
    """

    paths: list[str] = Field(min_length=1)
    git_blob: str | None = Field(pattern="^[0-9a-f]{40}$")


class ByHandConfig(Config):
    """A file that is not fetched.

    Attributes:
        files: Its name in the domain's folder, and others that do instead.
        needed: Whether the pipelines cannot do without.
        source: What it is and where it comes from.
    """

    files: list[str] = Field(min_length=1)
    needed: bool
    source: str


class LicenceConfig(Config):
    """What a user has to agree to."""

    name: str
    terms: str


class FetchConfig(Config):
    """Everything under ``fetch`` in ``conf/base/fetch.yml``.

    Attributes:
        base_url: Of the server.
        timeout_seconds: To connect, and between two arrivals of data.
        max_megabytes: Most of one file; a server that announces more is refused.
        retries: Of a request that fails before its body begins.
        files: Domain -> name in ``dataset/<domain>`` -> the file.
        by_hand: Domain -> what the command does not fetch.
        licences: Shown before anything is fetched.
    """

    base_url: str = Field(pattern=r"^https?://[^?#\s]+$")
    timeout_seconds: float = Field(gt=0)
    max_megabytes: float = Field(gt=0)
    retries: int = Field(ge=0)
    files: dict[Domain, dict[str, FileConfig]]
    by_hand: dict[Domain, list[ByHandConfig]]
    licences: list[LicenceConfig]

    @property
    def address(self) -> str:
        """The base URL without a user name and a password: what may be shown and written."""
        return str(urldefragauth(self.base_url)).rstrip("/")

    @field_validator("files")
    @classmethod
    def _names_are_of_files_that_are_read(cls, value: dict[Domain, Any]) -> dict[Domain, Any]:
        named = {name for files in value.values() for name in files}
        read = [*QUERY_FILES.values(), *INTERACTION_FILES]
        if unknown := sorted(named - set(read)):
            raise ValueError(f"{unknown} would not be read; there are {read}")
        return value


def read_config(configuration: Mapping[str, Any], base_url: str | None) -> FetchConfig:
    """Validates the configuration.

    Args:
        configuration: What ``conf/*/fetch.yml`` say together.
        base_url: Stands in for the configured one; None keeps that.

    Raises:
        BadParameterError: Naming every key that is unknown, missing or wrong.
    """
    given = {} if base_url is None else {"base_url": base_url}
    try:
        return FetchConfig.model_validate({**configuration.get("fetch", {}), **given})
    except ValidationError as exc:
        raise BadParameterError(f"conf/base/fetch.yml cannot be used:\n{explain(exc)}") from None


def notice(config: FetchConfig) -> str:
    """What a user has to know before the first byte."""
    terms = "\n".join(f"- {licence.name}: {licence.terms}" for licence in config.licences)
    return (
        f"What is fetched and what belongs with it is not ours:\n{terms}\n\n"
        f"Files come from {config.address}. That they are there is not verified against the live "
        "server by the tests of this project."
    )


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        state: ``there`` (before this run), ``fetched``, ``failed``, ``by hand`` (to be
            downloaded) or ``optional`` (can be downloaded).
        file: Its path in the destination.
        detail: Where it comes from, or what is wrong and what to do.
    """

    state: State
    file: str
    detail: str


def fetch_files(config: FetchConfig, dest: Path, domains: Iterable[Domain]) -> list[Outcome]:
    """Fetches every listed file that is not there yet, and verifies those that are.

    A file that fails does not keep the others from being fetched.

    Args:
        config: What to fetch from where.
        dest: The folder that gets ``dataset/<domain>/...``.
        domains: Which ones.
    """
    retry = Retry(
        total=config.retries,
        backoff_factor=0.5,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    with requests.Session() as session:
        user_and_password = get_auth_from_url(config.base_url)
        session.auth = user_and_password if any(user_and_password) else None
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        return [
            _outcome(session, config, file, data_folder(dest, domain) / name, dest)
            for domain in domains
            for name, file in config.files.get(domain, {}).items()
        ]


def list_by_hand(config: FetchConfig, dest: Path, domains: Iterable[Domain]) -> list[Outcome]:
    """Lists what the user must download, and whether it is there."""
    outcomes = []
    for domain in domains:
        folder = data_folder(dest, domain)
        for entry in config.by_hand.get(domain, []):
            found = next((name for name in entry.files if (folder / name).is_file()), None)
            missing: State = "by hand" if entry.needed else "optional"
            names = [found] if found else entry.files
            paths = " or ".join((folder / name).relative_to(dest).as_posix() for name in names)
            outcomes.append(Outcome("there" if found else missing, paths, entry.source))
    return outcomes


def table(outcomes: Iterable[Outcome]) -> str:
    """One line for each file, those that need something done last."""
    order: list[State] = ["there", "fetched", "optional", "by hand", "failed"]
    rows = sorted(outcomes, key=lambda outcome: order.index(outcome.state))
    return "\n".join(f"{row.state:<9}{row.file}\n{'':<9}  {row.detail}" for row in rows)


def _outcome(
    session: requests.Session, config: FetchConfig, file: FileConfig, target: Path, dest: Path
) -> Outcome:
    path = target.relative_to(dest).as_posix()
    try:
        if target.is_file():
            return Outcome("there", path, _verify_present(target, file))
        return Outcome("fetched", path, _fetch(session, config, file, target))
    except BadInputError as exc:
        return Outcome("failed", path, str(exc))


# -- checksums ----------------------------------------------------------------------------


class _Checksum(Config):
    """What is recorded of a file; ``url`` is null for one that was there before any fetch."""

    sha256: str
    bytes: int
    url: str | None


_CHECKSUMS = TypeAdapter(dict[str, _Checksum])


def _verify_present(target: Path, file: FileConfig) -> str:
    """Verifies a file that is there, and records it at first sight."""
    known = _read_checksums(target.parent).get(target.name)
    sha256 = _verify(target, target, file, known, "Delete it to have it fetched again")
    if known is None:
        _record(target, _Checksum(sha256=sha256, bytes=target.stat().st_size, url=None))
        return f"seen for the first time; sha256 {sha256} is recorded now"
    return f"as recorded: sha256 {sha256}"


def _verify(
    path: Path, source: object, file: FileConfig, known: _Checksum | None, undo: str
) -> str:
    """Gives the SHA-256 of a file that is what it should be.

    Raises:
        BadInputError: If it is not what is recorded or, at first sight, what is stated.
    """
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if known is not None and sha256 != known.sha256:
        raise BadInputError(
            source,
            f"it has changed: its sha256 is {sha256}, recorded is {known.sha256}",
            remedy=f"{undo}; or, to trust it as it is, delete its entry in {CHECKSUMS} beside it",
        )
    if known is None and file.git_blob is not None and (blob := _git_blob(path)) != file.git_blob:
        raise BadInputError(
            source,
            f"it is another file than conf/base/fetch.yml states: git's id of it is {blob}, "
            f"stated is {file.git_blob}",
            remedy=f"{undo}; or, to use this release of it, set its git_blob to null in "
            "conf/local/fetch.yml",
        )
    return sha256


def _git_blob(path: Path) -> str:
    """The id that git gives a file: SHA-1 over a header with its length, and its content."""
    header = f"blob {path.stat().st_size}\0".encode()
    with path.open("rb") as content:
        return hashlib.file_digest(
            content, lambda: hashlib.sha1(header, usedforsecurity=False)
        ).hexdigest()


def _read_checksums(folder: Path) -> dict[str, _Checksum]:
    path = folder / CHECKSUMS
    if not path.is_file():
        return {}
    try:
        return _CHECKSUMS.validate_json(path.read_bytes())
    except ValidationError as exc:
        raise BadInputError(
            path,
            f"cannot be read:\n{explain(exc)}",
            remedy="Delete it to trust the files that are there",
        ) from None


def _record(target: Path, checksum: _Checksum) -> None:
    recorded = {**_read_checksums(target.parent), target.name: checksum}
    write_bytes(target.with_name(CHECKSUMS), _CHECKSUMS.dump_json(recorded, indent=1))


# -- transfers ----------------------------------------------------------------------------


def _fetch(session: requests.Session, config: FetchConfig, file: FileConfig, target: Path) -> str:
    """Fetches, verifies and records one file; says from where.

    Raises:
        BadInputError: If the server has not got it, the transfer breaks, or it is another file.
    """
    if target.is_symlink():
        problem = "it is a link, and nothing is written through one"
        raise BadInputError(target, problem, remedy="Delete it")
    known = _read_checksums(target.parent).get(target.name)
    urls = [f"{config.address}/{quote(path)}" for path in file.paths]
    tidy(target)
    beside = temporary(target)
    try:
        url = next((u for u in urls if _transfer(session, config, u, beside)), None)
        if url is None:
            raise BadInputError(
                ", ".join(urls),
                "the server has no such file (404)",
                remedy=f"Get it by hand and put it at {target}, or name another server by "
                "--base-url",
            )
        sha256 = _verify(beside, url, file, known, "What arrived was deleted")
        size = beside.stat().st_size
        swap_in(beside, target)
    finally:
        remove(beside)
    _record(target, _Checksum(sha256=sha256, bytes=size, url=url))
    return f"from {url}"


def _transfer(session: requests.Session, config: FetchConfig, url: str, beside: Path) -> bool:
    """Writes what the server has to a file of its own; False if it has no such file."""
    headers = {"Accept-Encoding": "identity"}  # of a compressed body, the length says nothing
    try:
        with session.get(
            url, headers=headers, stream=True, timeout=config.timeout_seconds
        ) as response:
            if response.status_code == requests.codes.not_found:
                return False
            response.raise_for_status()
            total = _length(response, url, config.max_megabytes)
            bar = tqdm(desc=url.rsplit("/", 1)[-1], total=total, unit="B", unit_scale=True)
            with bar, open_to_append(beside) as stream:
                for block in response.iter_content(_BLOCK):
                    stream.write(block)
                    bar.update(len(block))
    except requests.RequestException as exc:
        why = exc.args[0] if exc.args else type(exc).__name__
        problem = f"could not be fetched: {getattr(why, 'reason', why)}"
        raise BadInputError(url, problem, remedy="Run the command again") from exc
    return True


def _length(response: requests.Response, url: str, max_megabytes: float) -> int:
    """The announced length, at which a body ends; a shorter one is an error of ``requests``.

    Raises:
        BadInputError: If there is none that can be relied on, or it is above the limit.
    """
    headers, again = response.headers, "Name another server by --base-url"
    if headers.get("Content-Encoding", "identity") != "identity":
        raise BadInputError(url, "the server sends it compressed, unasked", remedy=again)
    if not headers.get("Content-Length", "").isdecimal():
        raise BadInputError(url, "the server announces no length", remedy=again)
    total = int(headers["Content-Length"])
    if total > max_megabytes * 1e6:
        raise BadInputError(
            url,
            f"the server announces {total / 1e6:,.0f} MB, allowed are {max_megabytes:g}",
            remedy="If that is right, raise max_megabytes in conf/local/fetch.yml",
        )
    return total
