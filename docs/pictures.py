"""Takes the pictures of the docs from the last finished default run: ``make pictures``.

What a finished ``kedro experiment`` has left is taken, too. Needs Chromium; everything else comes
with the project.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import browser
import plotly.graph_objects as go
import plotly.io
from mlflow import MlflowClient

from rerec_pipeline.reporting.comparison_plots import sensitivity
from rerec_pipeline.tracking import comparison_link

PROJECT = Path(__file__).parents[1]
RUN = PROJECT / "data/08_reporting/sample_movie/tiny/rerec/seed-0"
EXPERIMENTS = PROJECT / "data/08_reporting/experiments"
EXPERIMENT = EXPERIMENTS / "experiment"
STORE = f"sqlite:///{PROJECT / 'mlflow.db'}"
IMAGES = PROJECT / "docs/images"
#: Presets of sensitivity -> the parameter that the picture shows.
SWEEPS = {
    "w_qas": "rft.reward.weights.qas", "w_pas": "rft.reward.weights.pas",
    "w_penalty": "rft.advantage.w_penalty", "tau": "rft.curriculum.tau",
    "G": "rft.budget.group_size", "K": "rft.reward.k",
}  # fmt: skip
#: What the assistant is asked: a test query of the sample that states something false.
WISH = (
    "I enjoyed Salt Bridge (1988), which Dmitri Lindqvist directed. "
    "I am looking for another Sci-Fi film by that director."
)
PLOTS = {"learning_plot": "learning", "accuracy_plot": "accuracy", "curriculum_plot": "curriculum"}

#: Settings a visitor could click: no side bar, no hints, on white.
VIZ = {
    "theme": "light",
    "showFeatureHints": False,
    "visible": {"sidebar": False, "miniMap": False},
}


def shoot(url: str, target: Path, size: tuple[int, int], wait_ms: int) -> None:
    """One screenshot of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("The pictures are taken with Chromium: install it first")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--force-device-scale-factor=2",
                f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}",
                f"--virtual-time-budget={wait_ms}", f"--screenshot={target}", url,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
    print(target.relative_to(PROJECT))


def plots() -> None:
    """The plots of the run's report."""
    for name, picture in PLOTS.items():
        stored(RUN / f"{name}.json", picture)


def stored(plot: Path, picture: str) -> None:
    """One picture of a plot that a run or an experiment has left."""
    draw(plotly.io.from_json(plot.read_text()), picture, 460)


def draw(figure: go.Figure, picture: str, height: int) -> None:
    """One picture of one plot."""
    figure.update_layout(width=1000, height=height)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "plot.html"
        figure.write_html(page, include_plotlyjs=True, config={"displayModeBar": False})
        shoot(page.as_uri(), IMAGES / f"{picture}.png", (1016, height + 16), 4000)


def assistant() -> None:
    """An answer on the assistant's page, on a desk and on a phone."""
    command = [sys.executable, "-m", "kedro", "serve", "--port", "0"]
    server = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr
        told = (re.search(r"http://\S+", line) for line in server.stderr)
        address = next(found[0] for found in told if found)
        with browser.open_page() as page:
            ask_page(page, address)
    finally:
        server.terminate()


def ask_page(page: browser.Page, address: str) -> None:
    """Asks on the page and takes its picture in both sizes."""
    for name, width, height in (("assistant", 1280, 740), ("assistant_phone", 390, 844)):
        page.show(address, width, height, dark=width < 600, scale=1 if width > 600 else 2)
        page.write(WISH)
        page.press("Enter")
        page.wait("document.querySelector('.card') && !document.forms[0].dataset.busy", 60)
        time.sleep(1)  # it scrolls
        page.picture(IMAGES / f"{name}.png")
        print(f"docs/images/{name}.png")


def transcripts() -> None:
    """The top of the page of transcripts."""
    shoot((RUN / "transcripts.html").as_uri(), IMAGES / "transcripts.png", (1180, 900), 1000)


def pipelines() -> None:
    """The stages as boxes, from a static build of kedro viz."""
    subprocess.run([sys.executable, "-m", "kedro", "viz", "build"], cwd=PROJECT, check=True)
    index = PROJECT / "build/index.html"
    settings = json.dumps(json.dumps(VIZ))
    script = f"<head><script>localStorage.setItem('KedroViz', {settings})</script>"
    index.write_text(index.read_text().replace("<head>", script, 1))
    handler = functools.partial(Quiet, directory=PROJECT / "build")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/?pid=__default__&types=nodes"
    shoot(url, IMAGES / "pipeline.png", (1000, 800), 15000)
    server.shutdown()
    shutil.rmtree(PROJECT / "build")


def comparison() -> None:
    """The top of the page that compares an experiment's cells."""
    shoot((EXPERIMENT / "comparison.html").as_uri(), IMAGES / "comparison.png", (1280, 1900), 8000)


def sweeps(finished: dict[str, Path]) -> None:
    """Accuracy against every parameter whose preset is finished."""
    entries = [
        entry
        for preset, report in finished.items()
        for entry in json.loads(report.read_text())["sensitivity"]
        if entry["parameter"] == SWEEPS[preset]
    ]
    draw(sensitivity(entries, columns=2), "sensitivity", 110 + 130 * len(entries))


def compared_runs() -> None:
    """MLflow's page that compares the experiment's cells, one run each."""
    cells = json.loads((EXPERIMENT / "cells.json").read_text())["cells"]
    runs = [cell["mlflow_run_id"] for cell in cells if cell["state"] == "finished"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", STORE]
    server = subprocess.Popen([*command, "--port", port, "--workers", "1"])
    try:
        wait_for(f"http://127.0.0.1:{port}/health", 120)
        link = comparison_link(MlflowClient(f"http://127.0.0.1:{port}"), runs)
        shoot(str(link), IMAGES / "mlflow.png", (1500, 1250), 30000)
    finally:
        server.terminate()


def wait_for(url: str, seconds: int) -> None:
    """Waits until a server answers."""
    for _ in range(seconds):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    sys.exit(f"{url} does not answer")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


if __name__ == "__main__":
    if not (RUN / "metrics.json").is_file():
        sys.exit("There is no finished run to take pictures of: make run")
    IMAGES.mkdir(exist_ok=True)
    plots()
    transcripts()
    assistant()
    pipelines()
    if (EXPERIMENT / "comparison.html").is_file():
        comparison()
        compared_runs()
    if (plot := EXPERIMENTS / "with_evidence/learning_plot.json").is_file():
        stored(plot, "learning_with_evidence")
    reports = {preset: EXPERIMENTS / preset / "comparison.json" for preset in SWEEPS}
    if finished := {preset: path for preset, path in reports.items() if path.is_file()}:
        sweeps(finished)
