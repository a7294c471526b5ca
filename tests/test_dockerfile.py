"""The Dockerfile, as far as it can be looked at without Docker: its commands and files exist."""

import json
import shlex
from pathlib import Path

from click.testing import CliRunner

from rerec_pipeline.cli import cli

ROOT = Path(__file__).parents[1]
LINES = [
    line.split(" ", 1)
    for line in (ROOT / "Dockerfile").read_text().splitlines()
    if line and not line.startswith("#")
]
GIVEN = {name: [rest for key, rest in LINES if key == name] for name in dict(LINES)}


def test_it_serves_by_a_command_that_exists_with_options_that_it_has():
    (command,) = GIVEN["CMD"]
    kedro, name, *options = json.loads(command)
    assert kedro == "kedro" and options[::2] == ["--host", "--port"]
    told = CliRunner().invoke(cli, [name, "--help"]).output
    assert all(option in told for option in options[::2])
    assert options[-1] == GIVEN["EXPOSE"][0]


def test_what_it_installs_and_runs_is_there():
    commands = [shlex.split(rest) for rest in GIVEN["RUN"]]
    (lock,) = [words[words.index("-r") + 1] for words in commands if "-r" in words]
    pinned = (ROOT / lock).read_text()
    assert "torch==" in pinned and "lightgbm==" in pinned and "+cpu" not in pinned
    assert ["kedro", "run"] in commands and "run" in cli.commands
    assert (ROOT / "pyproject.toml").is_file()


def test_the_base_policy_is_not_left_out():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert "data/0[1-57-8]_*" in ignored and not any("06" in line for line in ignored)
