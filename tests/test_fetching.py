"""Fetching over real sockets: whole, verified, and never half a file."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from rerec_pipeline import cli, fetching
from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.recbench.raw import find_raw_files
from rerec_pipeline.recbench.records import QUERY_FILES
from rerec_pipeline.runner.project import Project
from rerec_pipeline.sample.layout import fabricate_files
from rerec_pipeline.storage.writing import temporary
from tests.conftest import data_parameters, engineer, small_world

PROJECT = Path(__file__).parents[1]
REAL = PROJECT.parent / "shared/recbench_plus/dataset"
NAME = "ExplicitQuery.json"
PATH = f"dataset/movie/{NAME}"
CONTENT = bytes(range(256)) * 1000
BREAK = 131_072  # of 256,000 bytes


@dataclass
class Server:
    """A web server on a real socket, and the ways in which it can misbehave.

    Attributes:
        files: Path -> content.
        stop_after: Bytes of a body after which it hangs up; None sends all.
        announced: Added to the Content-Length; None leaves the header out.
        changes: Headers that replace its own.
        status: Answered instead of the file.
        asked: The path of every request, in order.
        authorised: The header Authorization of every request.
    """

    files: dict[str, bytes]
    stop_after: int | None = None
    announced: int | None = 0
    changes: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    asked: list[str] = field(default_factory=list)
    authorised: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.lstrip("/")
        self.authorised.append(request.headers.get("Authorization"))
        self.asked.append(path)
        content = self.files.get(path)
        if content is None or self.status is not None:
            request.send_error(self.status or 404)
            return
        headers = {"Content-Length": str(len(content) + (self.announced or 0))}
        if self.announced is None:
            headers.pop("Content-Length")
        request.send_response(200)
        for name, value in (headers | self.changes).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content[: self.stop_after])


@pytest.fixture
def serve():
    """Starts a server for some files; it stops after the test."""
    running = []

    def start(files: dict[str, bytes], **how) -> Server:
        server = Server(dict(files), **how)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        running.append(http)
        server.url = f"http://127.0.0.1:{http.server_port}"
        return server

    yield start
    for http in running:
        http.shutdown()
        http.server_close()


def config(url, files=None, **changes):
    """One movie file, unless other files are given."""
    one = {"movie": {NAME: {"paths": [PATH], "git_blob": None}}}
    values = {
        "base_url": url, "timeout_seconds": 5, "max_megabytes": 1, "retries": 0,
        "files": files or one, "by_hand": {}, "licences": [],
    }  # fmt: skip
    return fetching.FetchConfig(**{**values, **changes})


def fetch(server, dest, **changes):
    """What became of the one file."""
    (outcome,) = fetching.fetch_files(config(server.url, **changes), dest, ["movie"])
    return outcome


def names(dest):
    return sorted(p.name for p in (dest / "dataset/movie").glob("*"))


def checksums(dest):
    return json.loads((dest / "dataset/movie/checksums.json").read_text())


FINISHED = [NAME, "checksums.json"]


class TestWhole:
    def test_a_file_arrives_and_its_checksum_is_recorded(self, serve, tmp_path):
        server = serve({PATH: CONTENT})
        outcome = fetch(server, tmp_path)
        assert (outcome.state, outcome.file) == ("fetched", PATH)
        assert (tmp_path / PATH).read_bytes() == CONTENT
        assert names(tmp_path) == FINISHED
        assert checksums(tmp_path) == {
            NAME: {
                "sha256": hashlib.sha256(CONTENT).hexdigest(),
                "bytes": 256_000,
                "url": f"{server.url}/{PATH}",
            }
        }

    def test_an_empty_file_is_a_file(self, serve, tmp_path):
        assert fetch(serve({PATH: b""}), tmp_path).state == "fetched"
        assert (tmp_path / PATH).read_bytes() == b""

    def test_a_file_that_is_there_is_not_fetched_again(self, serve, tmp_path):
        server = serve({PATH: CONTENT})
        fetch(server, tmp_path)
        written = (tmp_path / PATH).stat().st_mtime_ns
        again = fetch(server, tmp_path)
        assert again.state == "there" and "as recorded" in again.detail
        assert len(server.asked) == 1
        assert (tmp_path / PATH).stat().st_mtime_ns == written

    def test_a_file_put_there_by_hand_is_recorded_at_first_sight(self, serve, tmp_path):
        (tmp_path / PATH).parent.mkdir(parents=True)
        (tmp_path / PATH).write_bytes(b"[]")
        server = serve({PATH: CONTENT})
        assert fetch(server, tmp_path).state == "there"
        assert not server.asked
        assert checksums(tmp_path)[NAME]["sha256"] == hashlib.sha256(b"[]").hexdigest()

    def test_the_name_of_an_older_release_is_tried_next(self, serve, tmp_path):
        older = "data/movie/UserBasedQuery.json"
        server = serve({older: CONTENT})
        entry = {"paths": ["dataset/movie/DemographicsBasedQuery.json", older], "git_blob": None}
        files = {"movie": {"DemographicsBasedQuery.json": entry}}
        outcome = fetch(server, tmp_path, files=files)
        assert outcome.state == "fetched" and outcome.detail.endswith(older)
        assert (tmp_path / outcome.file).read_bytes() == CONTENT
        assert server.asked == entry["paths"]


class TestBroken:
    def test_a_broken_transfer_says_so_and_leaves_nothing(self, serve, tmp_path):
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        outcome = fetch(server, tmp_path)
        assert outcome.state == "failed"
        assert "could not be fetched" in outcome.detail
        assert outcome.detail.endswith("Run the command again")
        assert names(tmp_path) == []
        server.stop_after = None
        assert fetch(server, tmp_path).state == "fetched"
        assert (tmp_path / PATH).read_bytes() == CONTENT
        assert names(tmp_path) == FINISHED

    @pytest.mark.parametrize("length", [0, 1, 65_536, 65_537])
    def test_wherever_it_breaks_there_is_no_file(self, serve, tmp_path, length):
        server = serve({PATH: CONTENT}, stop_after=length)
        assert fetch(server, tmp_path).state == "failed"
        assert names(tmp_path) == []

    def test_what_a_killed_transfer_left_is_removed(self, serve, tmp_path):
        left = temporary(tmp_path / PATH)
        left = left.with_name(left.name.replace(f"-{os.getpid()}-", "-999999999-"))
        left.parent.mkdir(parents=True)
        left.write_bytes(CONTENT[:BREAK])
        assert fetch(serve({PATH: CONTENT}), tmp_path).state == "fetched"
        assert names(tmp_path) == FINISHED


class TestWrong:
    @pytest.mark.parametrize(
        ("how", "problem"),
        [
            ({"announced": 10}, "could not be fetched"),
            ({"announced": None}, "announces no length"),
            ({"changes": {"Content-Encoding": "gzip"}}, "compressed"),
            ({"changes": {"Transfer-Encoding": "chunked"}}, "could not be fetched"),
            ({"status": 503}, "503"),
            ({"status": 403}, "403"),
        ],
    )
    def test_what_cannot_be_verified_never_becomes_a_file(self, serve, tmp_path, how, problem):
        outcome = fetch(serve({PATH: CONTENT}, **how), tmp_path)
        assert outcome.state == "failed" and problem in outcome.detail
        assert not (tmp_path / PATH).exists()
        assert not (tmp_path / "dataset/movie/checksums.json").exists()

    def test_a_server_that_is_not_there(self, tmp_path):
        outcome = fetch(SimpleNamespace(url="http://127.0.0.1:9"), tmp_path)
        assert outcome.state == "failed" and "could not be fetched" in outcome.detail

    def test_a_busy_server_is_asked_again(self, serve, tmp_path):
        server = serve({PATH: CONTENT}, status=503)
        assert fetch(server, tmp_path, retries=2).state == "failed"
        assert len(server.asked) == 3

    def test_a_missing_file_says_what_to_do(self, serve, tmp_path):
        outcome = fetch(serve({}), tmp_path)
        assert outcome.state == "failed"
        assert "no such file (404)" in outcome.detail
        assert f"put it at {tmp_path / PATH}" in outcome.detail and "--base-url" in outcome.detail


class TestHostile:
    @pytest.mark.parametrize("announced", [10**15, 1_000_001 - len(CONTENT)])
    def test_a_file_above_the_limit_is_refused_before_anything_is_written(
        self, serve, tmp_path, announced
    ):
        outcome = fetch(serve({PATH: CONTENT}, announced=announced), tmp_path)
        assert outcome.state == "failed" and "MB, allowed are 1. If that is right" in outcome.detail
        assert not (tmp_path / "dataset").exists()

    def test_nothing_is_written_through_a_link(self, serve, tmp_path):
        (tmp_path / PATH).parent.mkdir(parents=True)
        (tmp_path / PATH).symlink_to(tmp_path / "precious")
        server = serve({PATH: CONTENT})
        outcome = fetch(server, tmp_path)
        assert outcome.state == "failed" and f"{tmp_path / PATH}: it is a link" in outcome.detail
        assert not (tmp_path / "precious").exists() and not server.asked
        (tmp_path / PATH).unlink()
        assert fetch(server, tmp_path).state == "fetched"
        assert not (tmp_path / PATH).is_symlink()

    def test_a_password_is_sent_and_nowhere_else(self, serve, tmp_path, caplog):
        caplog.set_level(0)
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        given = config(server.url.replace("//", "//ann:s3cret%21@"))
        (broken,) = fetching.fetch_files(given, tmp_path, ["movie"])
        server.stop_after = None
        (done,) = fetching.fetch_files(given, tmp_path, ["movie"])
        assert (broken.state, done.state) == ("failed", "fetched")
        assert server.authorised == ["Basic " + base64.b64encode(b"ann:s3cret!").decode()] * 2
        written = (tmp_path / "dataset/movie/checksums.json").read_text()
        told = [broken.detail, done.detail, written, fetching.notice(given), caplog.text]
        assert all("s3cret" not in text and "ann:" not in text for text in told)

    def test_without_a_password_none_is_sent(self, serve, tmp_path):
        server = serve({PATH: CONTENT})
        fetch(server, tmp_path)
        assert server.authorised == [None]


class TestChecksums:
    def test_a_file_that_changed_on_the_disk_is_an_error(self, serve, tmp_path):
        server = serve({PATH: CONTENT})
        fetch(server, tmp_path)
        (tmp_path / PATH).write_bytes(b"changed")
        outcome = fetch(server, tmp_path)
        assert outcome.state == "failed"
        assert hashlib.sha256(CONTENT).hexdigest() in outcome.detail
        assert "Delete it to have it fetched again" in outcome.detail
        assert (tmp_path / PATH).read_bytes() == b"changed"  # it may be somebody's work
        (tmp_path / PATH).unlink()
        assert fetch(server, tmp_path).state == "fetched"
        assert (tmp_path / PATH).read_bytes() == CONTENT

    def test_a_file_that_changed_on_the_server_is_an_error(self, serve, tmp_path):
        server = serve({PATH: CONTENT})
        fetch(server, tmp_path)
        (tmp_path / PATH).unlink()
        server.files[PATH] = CONTENT[::-1]
        outcome = fetch(server, tmp_path)
        assert outcome.state == "failed" and "delete its entry in checksums.json" in outcome.detail
        assert names(tmp_path) == ["checksums.json"]
        (tmp_path / "dataset/movie/checksums.json").unlink()
        assert fetch(server, tmp_path).state == "fetched"

    def test_the_content_that_is_stated_is_verified_at_first_sight(self, serve, tmp_path):
        # printf hello | git hash-object --stdin
        hello = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"
        files = {"movie": {NAME: {"paths": [PATH], "git_blob": hello}}}
        server = serve({PATH: b"hullo"})
        outcome = fetch(server, tmp_path, files=files)
        assert outcome.state == "failed" and f"stated is {hello}" in outcome.detail
        assert names(tmp_path) == []
        server.files[PATH] = b"hello"
        assert fetch(server, tmp_path, files=files).state == "fetched"

    def test_checksums_that_cannot_be_read_are_not_passed_over(self, serve, tmp_path):
        server = serve({PATH: CONTENT})
        fetch(server, tmp_path)
        (tmp_path / "dataset/movie/checksums.json").write_text('{"a": {"sha256": 1}}')
        outcome = fetch(server, tmp_path)
        assert outcome.state == "failed" and "a.sha256" in outcome.detail


@pytest.fixture(scope="module")
def shipped():
    """The config in ``conf``."""
    loader = ChoicesConfigLoader(
        str(PROJECT / "conf"),
        base_env="base",
        default_run_env="base",
        config_patterns={"fetch": ["fetch*"]},
    )
    assert "fetch" not in loader["parameters"]
    return fetching.read_config(loader["fetch"], None)


class TestConfiguration:
    def test_all_query_files_of_both_domains_are_listed(self, shipped):
        movie, book = shipped.files["movie"], shipped.files["book"]
        assert set(movie) == set(QUERY_FILES.values())
        books = set(QUERY_FILES.values()) - {"DemographicsBasedQuery.json"}
        assert set(book) == books | {"ratings.dat"}
        for domain, files in shipped.files.items():
            for entry in files.values():
                assert entry.git_blob and len(set(entry.paths)) == len(entry.paths)
                assert all(f"/{domain}/" in path for path in entry.paths)

    @pytest.mark.skipif(not REAL.is_dir(), reason="the benchmark's files may not be shipped")
    def test_the_published_file_is_the_one_that_is_stated(self, shipped):
        entry = shipped.files["movie"]["DemographicsBasedQuery.json"]
        path = REAL / "movie/DemographicsBasedQuery.json"
        assert fetching._git_blob(path) == entry.git_blob

    @pytest.mark.parametrize(
        ("wrong", "key"),
        [
            ({"base_url": "ftp://server"}, "base_url"),
            ({"base_url": "http://server?token=x"}, "base_url"),
            ({"max_megabytes": 0}, "max_megabytes"),
            ({"retries": -1}, "retries"),
            ({"retrys": 1}, "retrys"),
            ({"files": {"film": {}}}, "files.film"),
            ({"files": {"movie": {"Query.json": {"paths": ["a"], "git_blob": None}}}}, "files"),
            ({"files": {"movie": {NAME: {"paths": [], "git_blob": None}}}}, "paths"),
            ({"files": {"movie": {NAME: {"paths": ["a"], "git_blob": "x"}}}}, "git_blob"),
        ],
    )
    def test_a_wrong_one_is_named(self, wrong, key):
        given = config("http://server").model_dump()
        with pytest.raises(BadParameterError, match=key):
            fetching.read_config({"fetch": {**given, **wrong}}, None)


@pytest.fixture(scope="module")
def project():
    bootstrap_project(PROJECT)
    return SimpleNamespace(project_path=PROJECT)


@pytest.fixture
def command(project, monkeypatch):
    """``kedro fetch-recbench`` with the shipped list, but not its contents' ids and retries."""
    configured = Project(PROJECT).read("fetch")
    for files in configured["fetch"]["files"].values():
        for entry in files.values():
            entry["git_blob"] = None
    configured["fetch"]["retries"] = 0
    monkeypatch.setattr(Project, "read", lambda *_: configured)

    def call(*arguments, answer=None):
        given = ["fetch-recbench", *map(str, arguments)]
        return CliRunner().invoke(cli.cli, given, obj=project, input=answer)

    return call


def published():
    """The sample as a server would have it: only the query files."""
    files = {}
    for domain in ("movie", "book"):
        people = {"movie": None, "book": {"Written_by": 8}}[domain]
        queries = {"explicit": 12, "implicit": 12, "misinformed": 12, "interest": 12}
        queries |= {"demographics": 12} if domain == "movie" else {}
        size = small_world(queries=queries, **({"people": people} if people else {}))
        for name, text in fabricate_files(domain, size).items():
            files[f"dataset/{domain}/{name}"] = text.encode()
    public = (".json", "book/ratings.dat")
    asked = {path: text for path, text in files.items() if path.endswith(public)}
    return files, asked


class TestCommand:
    def test_what_it_fetches_and_what_is_put_there_by_hand_is_a_raw_dir(
        self, command, serve, tmp_path
    ):
        files, on_server = published()
        server = serve(on_server)
        done = command("--dest", tmp_path, "--base-url", server.url, "--accept-licences")
        assert done.exit_code == 0, done.output
        assert len(on_server) == len(server.asked) == 10
        for path, content in files.items():
            if path not in on_server:
                (tmp_path / path).write_bytes(content)
            assert (tmp_path / path).read_bytes() == content
        for domain, number in (("movie", 5), ("book", 4)):
            found = find_raw_files(tmp_path / "dataset" / domain, domain)
            assert sum(name in QUERY_FILES.values() for name in found) == number
        data = data_parameters(source="published", world=None)
        tables = engineer(data, str(tmp_path))
        assert tables["queries"]["query_type"].value_counts().to_dict()["explicit"] == 12

    def test_what_is_missing_by_hand_is_listed_with_where_it_comes_from(
        self, command, serve, tmp_path
    ):
        server = serve(published()[1])
        done = command("--dest", tmp_path, "--base-url", server.url, "--accept-licences")
        lines = done.output.splitlines()
        row = lines.index("by hand  dataset/movie/movies.dat")
        assert "files.grouplens.org/datasets/movielens/ml-1m.zip" in lines[row + 1]
        assert "by hand  dataset/movie/interactions.parquet or dataset/movie/ratings.dat" in lines
        graph = "dataset/movie/movie_item_attribute_graph.gexf"
        assert f"optional dataset/movie/item_attributes.csv or {graph}" in lines
        assert "optional dataset/book/books.dat" in lines
        (tmp_path / "dataset/movie/ratings.dat").write_text("1::1::5::0\n")
        done = command("--dest", tmp_path, "--base-url", server.url, "--accept-licences")
        assert "there    dataset/movie/ratings.dat" in done.output.splitlines()

    def test_one_missing_file_does_not_keep_the_others_back(self, command, serve, tmp_path):
        on_server = published()[1]
        del on_server["dataset/book/ImplicitQuery.json"]
        server = serve(on_server)
        done = command("--dest", tmp_path, "--base-url", server.url, "--accept-licences")
        assert done.exit_code == 1
        assert "1 of 10 files failed" in done.output
        assert "failed   dataset/book/ImplicitQuery.json" in done.output
        assert done.output.count("\nfetched  ") == 9
        assert not (tmp_path / "dataset/book/ImplicitQuery.json").exists()
        server.files["dataset/book/ImplicitQuery.json"] = b"[]"
        done = command("--dest", tmp_path, "--base-url", server.url, "--accept-licences")
        assert done.exit_code == 0
        assert (done.output.count("\nfetched  "), done.output.count("\nthere    ")) == (1, 9)

    def test_an_error_of_the_disk_is_one_sentence(self, command, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))

        monkeypatch.setattr(fetching, "fetch_files", full)
        done = command("--dest", tmp_path, "--accept-licences")
        assert done.exit_code == 1
        assert done.output.splitlines()[-1].startswith(f"Error: {tmp_path}/x: the disk is full.")

    def test_one_domain_alone(self, command, serve, tmp_path):
        server = serve(published()[1])
        arguments = ("--dest", tmp_path, "--base-url", server.url, "--accept-licences")
        done = command(*arguments, "--domain", "book")
        assert done.exit_code == 0 and "movie/" not in done.output
        assert [p.name for p in (tmp_path / "dataset").iterdir()] == ["book"]

    @pytest.mark.parametrize("answer", [None, "", "n\n", "\n"])
    def test_without_consent_nothing_is_fetched(self, command, serve, tmp_path, answer):
        server = serve(published()[1])
        done = command("--dest", tmp_path / "new", "--base-url", server.url, answer=answer)
        assert done.exit_code == 1
        assert "no licence" in done.output and "not to be redistributed" in done.output
        assert "not verified against the live server" in " ".join(done.output.split())
        assert "Nothing was fetched. To accept beforehand: --accept-licences" in done.output
        assert not server.asked and not (tmp_path / "new").exists()

    def test_with_consent_it_is(self, command, serve, tmp_path):
        server = serve(published()[1])
        done = command("--dest", tmp_path, "--base-url", server.url, answer="y\n")
        assert done.exit_code == 0 and len(server.asked) == 10

    def test_a_wrong_address_is_said_before_anything_is_asked(self, command, tmp_path):
        done = command("--dest", tmp_path, "--base-url", "server", "--accept-licences")
        assert done.exit_code == 1 and "base_url" in done.output

    def test_its_list_is_that_of_the_projects_configuration(self, project, shipped):
        assert fetching.read_config(Project(PROJECT).read("fetch"), None) == shipped
