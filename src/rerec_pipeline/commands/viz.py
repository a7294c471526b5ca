"""``kedro viz`` opens a view of the stages alone: boxes that can be expanded, without tables."""

from __future__ import annotations

import copy
import socket
import webbrowser
from typing import Any

import click
from kedro_viz.launchers.cli.run import run as kedro_viz_run

#: Makes Kedro-Viz's page show nodes only; buttons on the page show tables and parameters, too.
_STAGES = "?types=nodes"
#: Hosts for which Kedro-Viz opens a browser.
_THIS_MACHINE = ("127.0.0.1", "localhost", "0.0.0.0")


def _run(host: str, port: int, browser: bool, **options: Any) -> None:
    """Starts Kedro-Viz's server, then names and opens the address that shows the stages."""
    # Kedro-Viz would look for a free port, too, but does not tell which one it has taken.
    port = _free_port(host, port)
    assert kedro_viz_run.callback is not None
    # Kedro-Viz would open the page with all tables, which is too small to read without zooming.
    kedro_viz_run.callback(host=host, port=port, browser=False, **options)
    address = f"http://{host}:{port}/{_STAGES}"
    click.echo(f"The stages alone, as boxes that open: {address}")
    if browser and host in _THIS_MACHINE:
        webbrowser.open_new(address)


def _free_port(host: str, first: int) -> int:
    """The first port from ``first`` on where nothing listens; ``first`` if 100 are taken."""
    for port in range(first, first + 100):
        with socket.socket() as tried:
            tried.settimeout(1.0)  # seconds; a host elsewhere may never answer
            if tried.connect_ex((host, port)) != 0:
                return port
    return first


# Kedro-Viz's command with all its options, and our function behind it.
run = copy.copy(kedro_viz_run)
run.callback = _run
