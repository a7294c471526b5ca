"""Fetching what is public of RecBench+: broken transfers go on, and what arrives is verified.

A file arrives under ``<name>.partial`` and gets its name when it is whole and is what it should
be. ``checksums.json`` beside the files holds the SHA-256 of each at its first sight (trust on
first use); from then on the file has to match it, on the disk and when it is fetched again.
"""

from __future__ import annotations

import hashlib
import re
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
from rerec_pipeline.storage.writing import open_to_append, remove, swap_in, write_bytes

Domain = Literal["movie", "book"]
State = Literal["there", "fetched", "failed", "by hand", "optional"]

CHECKSUMS = "checksums.json"
_BLOCK = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+)")


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


def read_rule(configuration: Mapping[str, Any], base_url: str | None) -> FetchConfig:
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


def notice(rule: FetchConfig) -> str:
    """What a user has to know before the first byte."""
    terms = "\n".join(f"- {licence.name}: {licence.terms}" for licence in rule.licences)
    return (
        f"What is fetched and what belongs with it is not ours:\n{terms}\n\n"
        f"Files come from {rule.address}. That they are there is not verified against the live "
        "server by the tests of this project."
    )


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        state: ``there`` (before this run), ``fetched``, ``failed``, ``by hand`` (has to be got)
            or ``optional`` (can be got by hand).
        file: Its path in the destination.
        detail: Where it comes from, or what is wrong and what to do.
    """

    state: State
    file: str
    detail: str


def fetch_files(rule: FetchConfig, dest: Path, domains: Iterable[Domain]) -> list[Outcome]:
    """Fetches every listed file that is not there yet, and verifies those that are.

    A file that fails does not keep the others from being fetched.

    Args:
        rule: What to fetch from where.
        dest: The folder that gets ``dataset/<domain>/...``.
        domains: Which ones.
    """
    retry = Retry(
        total=rule.retries,
        backoff_factor=0.5,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    with requests.Session() as session:
        user_and_password = get_auth_from_url(rule.base_url)
        session.auth = user_and_password if any(user_and_password) else None
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        return [
            _outcome(session, rule, file, data_folder(dest, domain) / name, dest)
            for domain in domains
            for name, file in rule.files.get(domain, {}).items()
        ]


def list_by_hand(rule: FetchConfig, dest: Path, domains: Iterable[Domain]) -> list[Outcome]:
    """Lists what has to be got by hand, and whether it is there."""
    outcomes = []
    for domain in domains:
        folder = data_folder(dest, domain)
        for entry in rule.by_hand.get(domain, []):
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
    session: requests.Session, rule: FetchConfig, file: FileConfig, target: Path, dest: Path
) -> Outcome:
    path = target.relative_to(dest).as_posix()
    try:
        if target.is_file():
            return Outcome("there", path, _verify_present(target, file))
        return Outcome("fetched", path, _fetch(session, rule, file, target))
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


class _Begun(Config):
    """What stands beside a ``.partial``: which version of which file it is the beginning of.

    Attributes:
        url: Where it came from.
        validator: Names the version on the server (ETag or Last-Modified); null if the server
            does not name versions.
        bytes: Length of the whole file.
    """

    url: str
    validator: str | None
    bytes: int


class _Partial:
    """A file on its way: ``<name>.partial``, and ``<name>.partial.json`` that says of what."""

    def __init__(self, target: Path):
        self.path = target.with_name(f"{target.name}.partial")
        self._note = target.with_name(f"{target.name}.partial.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def begun(self, url: str) -> _Begun | None:
        """What can be gone on with; None if there is nothing, or it is not known of what.

        Without a validator, the rest could be of another version than the beginning (RFC 9110,
        15.3.7.3): such a beginning counts only when it is already the whole.
        """
        try:
            begun = _Begun.model_validate_json(self._note.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        fits = begun.url == url and not self.path.is_symlink() and 0 < self.size <= begun.bytes
        return begun if fits and (begun.validator or self.size == begun.bytes) else None

    def how_to_go_on(self, url: str) -> str:
        """What a user can do after a transfer that broke."""
        where = f"goes on after {self.size} bytes" if self.begun(url) else "starts from zero"
        return f"Run the command again: it {where}"

    def begin(self, begun: _Begun) -> None:
        """Starts from zero."""
        with open_to_append(self.path) as file:
            file.truncate(0)
        write_bytes(self._note, begun.model_dump_json().encode())

    def discard(self) -> None:
        """Forgets what has arrived."""
        remove(self.path)
        remove(self._note)

    def finish(self, target: Path) -> None:
        """Gives the file its name once it is on the disk."""
        swap_in(self.path, target)
        remove(self._note)


def _fetch(session: requests.Session, rule: FetchConfig, file: FileConfig, target: Path) -> str:
    """Fetches, verifies and records one file; says from where.

    Raises:
        BadInputError: If the server has not got it, the transfer breaks, or it is another file.
    """
    known = _read_checksums(target.parent).get(target.name)
    urls = [f"{rule.address}/{quote(path)}" for path in file.paths]
    partial = _Partial(target)
    url = next((u for u in urls if _transfer(session, rule, u, partial)), None)
    if url is None:
        raise BadInputError(
            ", ".join(urls),
            "the server has no such file (404)",
            remedy=f"Get it by hand and put it at {target}, or name another server by --base-url",
        )
    try:
        sha256 = _verify(partial.path, url, file, known, "What arrived was deleted")
    except BadInputError:
        partial.discard()
        raise
    size = partial.size
    partial.finish(target)
    _record(target, _Checksum(sha256=sha256, bytes=size, url=url))
    return f"from {url}"


def _transfer(session: requests.Session, rule: FetchConfig, url: str, partial: _Partial) -> bool:
    """Brings a ``.partial`` to its full length; False if the server has no such file."""
    begun = partial.begun(url)
    if begun is not None and partial.size == begun.bytes:
        return True  # all had arrived, only the renaming had not
    headers = {"Accept-Encoding": "identity"}  # of a compressed body, lengths would not be ours
    if begun is not None and begun.validator is not None:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": begun.validator}
    try:
        with session.get(
            url, headers=headers, stream=True, timeout=rule.timeout_seconds
        ) as response:
            if response.status_code == requests.codes.not_found:
                return False
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                partial.discard()  # it is longer now than what the server has
            response.raise_for_status()
            _receive(response, url, partial, rule.max_megabytes)
    except requests.RequestException as exc:
        why = exc.args[0] if exc.args else type(exc).__name__
        problem = f"could not be fetched: {getattr(why, 'reason', why)}"
        raise BadInputError(url, problem, remedy=partial.how_to_go_on(url)) from exc
    return True


def _receive(
    response: requests.Response, url: str, partial: _Partial, max_megabytes: float
) -> None:
    """Writes a body to its ``.partial``, from zero or where that ends.

    Raises:
        BadInputError: If the length cannot be verified, is another than announced or above the
            limit.
    """
    start, total = _span(response, url, partial)
    if total > max_megabytes * 1e6:
        raise BadInputError(
            url,
            f"the server announces {total / 1e6:,.0f} MB, allowed are {max_megabytes:g}",
            remedy="If that is right, raise max_megabytes in conf/local/fetch.yml",
        )
    if start == 0:
        partial.begin(_Begun(url=url, validator=_validator(response.headers), bytes=total))
    bar = tqdm(desc=partial.path.stem, initial=start, total=total, unit="B", unit_scale=True)
    with bar, open_to_append(partial.path) as file:
        for block in response.iter_content(_BLOCK):
            if file.tell() > total:
                break  # a server that sends more than it announced is not listened to
            file.write(block)
            bar.update(len(block))
    if partial.size != total:
        problem = f"{partial.size} bytes arrived, announced were {total}"
        if partial.size > total:
            partial.discard()
        raise BadInputError(url, problem, remedy=partial.how_to_go_on(url))


def _span(response: requests.Response, url: str, partial: _Partial) -> tuple[int, int]:
    """First byte that a body begins with, and the length of the whole file.

    Raises:
        BadInputError: If the answer does not say, or begins elsewhere than was asked for.
    """
    headers, again = response.headers, "Name another server by --base-url"
    if headers.get("Content-Encoding", "identity") != "identity":
        raise BadInputError(url, "the server sends it compressed, unasked", remedy=again)
    if response.status_code == requests.codes.ok:
        if not headers.get("Content-Length", "").isdecimal():
            raise BadInputError(url, "the server announces no length", remedy=again)
        return 0, int(headers["Content-Length"])
    begun = partial.begun(url)
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if (
        begun is None
        or found is None
        or (int(found["start"]), int(found["total"])) != (partial.size, begun.bytes)
        or _validator(headers) not in (begun.validator, None)
    ):
        partial.discard()
        problem = f"the answer ({response.status_code}) is not what was asked for"
        raise BadInputError(url, problem, remedy=partial.how_to_go_on(url))
    return partial.size, begun.bytes


def _validator(headers: Mapping[str, str]) -> str | None:
    """What names the version of a file; a weak ETag may name several (RFC 9110, 8.8.1)."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
