"""Fetching over real sockets: whole, resumed, verified, and never half a file."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.framework.startup import bootstrap_project

from rerec_pipeline import cli, fetching
from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.recbench.raw import find_raw_files
from rerec_pipeline.recbench.records import QUERY_FILES
from rerec_pipeline.runner.workplace import Workplace
from rerec_pipeline.sample.layout import fabricate_files
from tests.conftest import data_parameters, engineer, small_world

PROJECT = Path(__file__).parents[1]
REAL = PROJECT.parent / "shared/recbench_plus/dataset"
NAME = "ExplicitQuery.json"
PATH = f"dataset/movie/{NAME}"
CONTENT = bytes(range(256)) * 1000
BREAK = 131_072  # of 256,000 bytes; what has not filled a block of 64 KiB when it breaks is lost


@dataclass
class Server:
    """A web server on a real socket, and the ways in which it can misbehave.

    Attributes:
        files: Path -> content.
        ranges: Whether it answers Range; if not, it sends the whole file.
        names_versions: Whether it sends an ETag.
        stop_after: Bytes of a body after which it hangs up; None sends all.
        announced: Added to the Content-Length; None leaves the header out.
        changes: Headers that replace its own.
        status: Answered instead of the file.
        asked: (path, Range) of every request, in order.
        authorised: The header Authorization of every request.
    """

    files: dict[str, bytes]
    ranges: bool = True
    names_versions: bool = True
    stop_after: int | None = None
    announced: int | None = 0
    changes: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    authorised: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, asked = request.path.lstrip("/"), request.headers.get("Range")
        self.authorised.append(request.headers.get("Authorization"))
        self.asked.append((path, asked))
        content = self.files.get(path)
        if content is None or self.status is not None:
            request.send_error(self.status or 404)
            return
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        whole = not self.ranges or asked is None or request.headers.get("If-Range") != etag
        start = 0 if whole else int(str(asked).removeprefix("bytes=").removesuffix("-"))
        headers = {"Content-Length": str(len(content) - start + (self.announced or 0))}
        headers |= {"ETag": etag} if self.names_versions else {}
        if not whole:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.announced is None:
            headers.pop("Content-Length")
        request.send_response(200 if whole else 206)
        for name, value in (headers | self.changes).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content[start:][: self.stop_after])


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


def rule(url, files=None, **changes):
    """One movie file, unless other files are given."""
    one = {"movie": {NAME: {"paths": [PATH], "git_blob": None}}}
    values = {
        "base_url": url, "timeout_seconds": 5, "max_megabytes": 1, "retries": 0,
        "files": files or one, "by_hand": {}, "licences": [],
    }  # fmt: skip
    return fetching.FetchConfig(**{**values, **changes})


def fetch(server, dest, **changes):
    """What became of the one file."""
    (outcome,) = fetching.fetch_files(rule(server.url, **changes), dest, ["movie"])
    return outcome


def names(dest):
    return sorted(p.name for p in (dest / "dataset/movie").glob("*"))


def checksums(dest):
    return json.loads((dest / "dataset/movie/checksums.json").read_text())


FINISHED = [NAME, "checksums.json"]
BROKEN = [f"{NAME}.partial", f"{NAME}.partial.json"]


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
        assert [path for path, _ in server.asked] == entry["paths"]


class TestBroken:
    def test_a_broken_transfer_says_so_and_keeps_what_arrived(self, serve, tmp_path):
        outcome = fetch(serve({PATH: CONTENT}, stop_after=BREAK), tmp_path)
        assert outcome.state == "failed"
        assert "could not be fetched" in outcome.detail
        assert "it goes on after 131072 bytes" in outcome.detail
        assert names(tmp_path) == BROKEN
        assert (tmp_path / f"{PATH}.partial").read_bytes() == CONTENT[:BREAK]

    def test_the_next_run_asks_for_the_rest_only(self, serve, tmp_path):
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        fetch(server, tmp_path)
        server.stop_after = None
        assert fetch(server, tmp_path).state == "fetched"
        assert server.asked == [(PATH, None), (PATH, "bytes=131072-")]
        assert (tmp_path / PATH).read_bytes() == CONTENT
        assert names(tmp_path) == FINISHED

    def test_a_server_that_ignores_range_starts_the_file_from_zero(self, serve, tmp_path):
        server = serve({PATH: CONTENT}, stop_after=BREAK, ranges=False)
        fetch(server, tmp_path)
        server.stop_after = None
        assert fetch(server, tmp_path).state == "fetched"
        assert server.asked[-1] == (PATH, "bytes=131072-")
        assert (tmp_path / PATH).read_bytes() == CONTENT

    def test_a_file_that_changed_meanwhile_is_not_glued_to_its_old_beginning(self, serve, tmp_path):
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        fetch(server, tmp_path)
        server.stop_after, server.files[PATH] = None, CONTENT[::-1]
        assert fetch(server, tmp_path).state == "fetched"
        assert (tmp_path / PATH).read_bytes() == CONTENT[::-1]

    @pytest.mark.parametrize("etag", [{}, {"ETag": 'W/"weak"'}])
    def test_without_a_named_version_a_beginning_is_not_trusted(self, serve, tmp_path, etag):
        server = serve({PATH: CONTENT}, stop_after=BREAK, names_versions=False, changes=etag)
        assert "it starts from zero" in fetch(server, tmp_path).detail
        server.stop_after = None
        assert fetch(server, tmp_path).state == "fetched"
        assert server.asked == [(PATH, None)] * 2
        assert (tmp_path / PATH).read_bytes() == CONTENT

    def test_a_beginning_from_another_server_is_not_trusted(self, serve, tmp_path):
        fetch(serve({PATH: CONTENT}, stop_after=BREAK), tmp_path)
        other = serve({PATH: CONTENT})
        assert fetch(other, tmp_path).state == "fetched"
        assert other.asked == [(PATH, None)]

    def test_a_partial_of_which_nothing_is_known_is_not_trusted(self, serve, tmp_path):
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        fetch(server, tmp_path)
        (tmp_path / f"{PATH}.partial.json").write_text("{")
        server.stop_after = None
        fetch(server, tmp_path)
        assert server.asked[-1] == (PATH, None)
        assert (tmp_path / PATH).read_bytes() == CONTENT

    def test_one_that_lacks_only_its_name_is_finished_without_the_server(self, serve, tmp_path):
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        fetch(server, tmp_path)
        (tmp_path / f"{PATH}.partial").write_bytes(CONTENT)
        assert fetch(server, tmp_path).state == "fetched"
        assert len(server.asked) == 1
        assert names(tmp_path) == FINISHED

    @given(cuts=st.lists(st.integers(0, 700), max_size=6), length=st.integers(0, 700))
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_wherever_it_breaks_the_file_ends_up_the_same(
        self, serve, tmp_path_factory, monkeypatch, cuts, length
    ):
        monkeypatch.setattr(fetching, "_BLOCK", 16)
        dest = tmp_path_factory.mktemp("dest")
        server = serve({PATH: CONTENT[:length]})
        for cut in cuts:
            server.stop_after = cut
            fetch(server, dest)
        server.stop_after = None
        assert fetch(server, dest).state in ("fetched", "there")
        assert (dest / PATH).read_bytes() == CONTENT[:length]
        assert names(dest) == FINISHED
        resumed = [asked for _, asked in server.asked if asked is not None]
        assert all(int(asked[6:-1]) % 16 == 0 for asked in resumed)


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

    @pytest.mark.parametrize(
        "answered",
        [
            {"Content-Range": "bytes 5-255999/256000"},
            {"Content-Range": "bytes 131072-255999/300000"},
            {"Content-Range": "131072-255999"},
            {"Content-Range": ""},
            {"ETag": '"another version"'},
        ],
    )
    def test_an_answer_to_another_range_is_refused(self, serve, tmp_path, answered):
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        fetch(server, tmp_path)
        server.stop_after, server.changes = None, answered
        outcome = fetch(server, tmp_path)
        assert outcome.state == "failed" and "is not what was asked for" in outcome.detail
        assert names(tmp_path) == []
        server.changes = {}
        assert fetch(server, tmp_path).state == "fetched"
        assert (tmp_path / PATH).read_bytes() == CONTENT

    def test_a_server_that_has_nothing_from_there_on_is_asked_from_zero(self, serve, tmp_path):
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        fetch(server, tmp_path)
        server.stop_after, server.status = None, 416
        outcome = fetch(server, tmp_path)
        assert "416" in outcome.detail and "it starts from zero" in outcome.detail
        server.status = None
        assert fetch(server, tmp_path).state == "fetched"
        assert [asked for _, asked in server.asked] == [None, "bytes=131072-", None]

    def test_a_part_of_the_rest_is_not_the_rest(self, serve, tmp_path):
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        fetch(server, tmp_path)
        server.changes = {"Content-Length": "1000"}
        server.stop_after = 1000
        outcome = fetch(server, tmp_path)
        assert "132072 bytes arrived, announced were 256000" in outcome.detail
        server.stop_after, server.changes = None, {}
        assert fetch(server, tmp_path).state == "fetched"
        assert (tmp_path / PATH).read_bytes() == CONTENT

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

    @pytest.mark.parametrize("known", [True, False])
    def test_nothing_is_written_through_a_link(self, serve, tmp_path, known):
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        fetch(server, tmp_path)
        partial, precious = tmp_path / f"{PATH}.partial", tmp_path / "precious"
        precious.write_bytes(CONTENT[:BREAK])
        partial.unlink()
        partial.symlink_to(precious)
        if not known:
            (tmp_path / f"{PATH}.partial.json").unlink()
        server.stop_after = None
        outcome = fetch(server, tmp_path)
        assert outcome.state == "failed" and f"{partial}: it is a link" in outcome.detail
        assert precious.read_bytes() == CONTENT[:BREAK]
        partial.unlink()
        assert fetch(server, tmp_path).state == "fetched"
        assert not (tmp_path / PATH).is_symlink()

    def test_a_password_is_sent_and_nowhere_else(self, serve, tmp_path, caplog):
        caplog.set_level(0)
        server = serve({PATH: CONTENT}, stop_after=BREAK)
        given = rule(server.url.replace("//", "//ann:s3cret%21@"))
        (broken,) = fetching.fetch_files(given, tmp_path, ["movie"])
        noted = (tmp_path / f"{PATH}.partial.json").read_text()
        server.stop_after = None
        (done,) = fetching.fetch_files(given, tmp_path, ["movie"])
        assert (broken.state, done.state) == ("failed", "fetched")
        assert server.authorised == ["Basic " + base64.b64encode(b"ann:s3cret!").decode()] * 2
        written = (tmp_path / "dataset/movie/checksums.json").read_text()
        told = [broken.detail, done.detail, noted, written, fetching.notice(given), caplog.text]
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
    """The rule in ``conf``."""
    loader = ChoicesConfigLoader(
        str(PROJECT / "conf"),
        base_env="base",
        default_run_env="base",
        config_patterns={"fetch": ["fetch*"]},
    )
    assert "fetch" not in loader["parameters"]
    return fetching.read_rule(loader["fetch"], None)


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
        given = rule("http://server").model_dump()
        with pytest.raises(BadParameterError, match=key):
            fetching.read_rule({"fetch": {**given, **wrong}}, None)


@pytest.fixture(scope="module")
def project():
    bootstrap_project(PROJECT)
    return SimpleNamespace(project_path=PROJECT)


@pytest.fixture
def command(project, monkeypatch):
    """``kedro fetch-recbench`` with the shipped list, but not its contents' ids and retries."""
    configured = Workplace(PROJECT).read("fetch")
    for files in configured["fetch"]["files"].values():
        for entry in files.values():
            entry["git_blob"] = None
    configured["fetch"]["retries"] = 0
    monkeypatch.setattr(Workplace, "read", lambda *_: configured)

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
        assert "Nothing was fetched. To accept unasked: --accept-licences" in done.output
        assert not server.asked and not (tmp_path / "new").exists()

    def test_with_consent_it_is(self, command, serve, tmp_path):
        server = serve(published()[1])
        done = command("--dest", tmp_path, "--base-url", server.url, answer="y\n")
        assert done.exit_code == 0 and len(server.asked) == 10

    def test_a_wrong_address_is_said_before_anything_is_asked(self, command, tmp_path):
        done = command("--dest", tmp_path, "--base-url", "server", "--accept-licences")
        assert done.exit_code == 1 and "base_url" in done.output

    def test_its_list_is_that_of_the_projects_configuration(self, project, shipped):
        assert fetching.read_rule(Workplace(PROJECT).read("fetch"), None) == shipped
