"""``kedro viz``, opened on the stages: boxes that open, without the tables between them."""

from __future__ import annotations

import copy
import socket
import webbrowser
from typing import Any

import click
from kedro_viz.launchers.cli.run import run as kedro_viz_run

#: What Kedro-Viz shows of an address; its buttons bring tables and parameters back.
_STAGES = "?types=nodes"
_THIS_MACHINE = ("127.0.0.1", "localhost", "0.0.0.0")


def _run(host: str, port: int, browser: bool, **options: Any) -> None:
    port = _free_port(host, port)
    assert kedro_viz_run.callback is not None
    # It would open the whole picture, in which nothing can be read before one has zoomed.
    kedro_viz_run.callback(host=host, port=port, browser=False, **options)
    address = f"http://{host}:{port}/{_STAGES}"
    click.echo(f"The stages alone, as boxes that open: {address}")
    if browser and host in _THIS_MACHINE:
        webbrowser.open_new(address)


def _free_port(host: str, first: int) -> int:
    """The first port, from one on, that nobody listens on."""
    for port in range(first, first + 100):
        with socket.socket() as tried:
            tried.settimeout(1.0)  # seconds; an address elsewhere may never answer
            if tried.connect_ex((host, port)) != 0:
                return port
    return first


run = copy.copy(kedro_viz_run)
run.callback = _run
