"""``kedro viz`` opens on the stages, whichever port it was given."""

import socket
import webbrowser

import pytest
from click.testing import CliRunner
from kedro_viz.launchers.cli.main import viz

import rerec_pipeline.cli  # noqa: F401 - Kedro imports it for every command
from rerec_pipeline.commands import viz as ours


@pytest.fixture
def started(monkeypatch):
    """What Kedro-Viz itself is called with, and what a browser is opened on."""
    seen = {"opened": []}
    monkeypatch.setattr(ours.kedro_viz_run, "callback", lambda **options: seen.update(options))
    monkeypatch.setattr(webbrowser, "open_new", seen["opened"].append)
    return seen


def ask(*words):
    done = CliRunner().invoke(viz, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def test_it_opens_the_stages_and_not_every_table(started):
    output = ask()
    assert not started["browser"]  # the plugin would open another page
    (address,) = started["opened"]
    assert address == f"http://{started['host']}:{started['port']}/?types=nodes"
    assert address in output


def test_options_reach_the_plugin(started):
    ask("run", "--no-browser", "--pipeline", "rft", "--env", "local")
    assert started["opened"] == []
    assert (started["pipeline"], started["env"], started["lite"]) == ("rft", "local", False)


def test_a_page_elsewhere_is_named_and_not_opened(started):
    assert "http://192.0.2.1:4141/?types=nodes" in ask("run", "--host", "192.0.2.1")
    assert started["opened"] == []


def test_a_port_that_is_taken_is_left_to_its_owner(started):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = ask("run", "--no-browser", "--port", str(port))
    assert started["port"] > port
    assert f":{started['port']}/" in output
