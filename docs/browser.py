"""A page in headless Chromium, by its DevTools protocol: for pictures and for tests."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

#: What Chromium calls keys, and the text that they write.
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}


def find_chromium() -> str | None:
    """Path of Chromium or Chrome, if there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Page:
    """One page; commands wait until they are done.

    Args:
        connection: To the page's DevTools.
    """

    def __init__(self, connection: ClientConnection):
        self._connection = connection
        self._ids = itertools.count(1)
        #: Errors of the page's scripts and addresses that were refused, as Chromium words them.
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command of the protocol and gives its result."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self._connection.recv(timeout=60))
            if told.get("method") == "Runtime.exceptionThrown":
                self.errors.append(told["params"]["exceptionDetails"]["exception"]["description"])
            elif told.get("method") == "Log.entryAdded":
                entry = told["params"]["entry"]
                self.errors += [entry["text"]] if entry["level"] == "error" else []
            elif told.get("id") == number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']['message']}")
                return dict(told["result"])

    def show(self, url: str, width: int, height: int, dark: bool = False, scale: int = 1) -> None:
        """Opens an address in a window of a size and a colour scheme, and waits for the page.

        Keys are lost, and nothing has the focus yet, until a page has been painted once.
        """
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=scale, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.wait(
            "location.href !== 'about:blank' && document.readyState === 'complete'"
            " && performance.getEntriesByType('paint').length > 0"
        )

    def run(self, script: str) -> Any:
        """Value of an expression in the page."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.05)

    def write(self, text: str) -> None:
        """Types a text where the focus is."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, shift: bool = False) -> None:
        """Presses one of ``KEYS``."""
        code, text = KEYS[key]
        told = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def picture(self, target: Path) -> None:
        """Saves what the window shows."""
        found = self.call("Page.captureScreenshot", format="png")
        target.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def open_page() -> Iterator[Page]:
    """An empty page of a Chromium of its own.

    Raises:
        FileNotFoundError: If there is no Chromium.
    """
    browser = find_chromium()
    if browser is None:
        raise FileNotFoundError("Chromium is needed: install it first")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_address(Path(profile)), max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.wait()


def _address(profile: Path, seconds: float = 60) -> str:
    """Where the DevTools of the first page are."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        told = profile / "DevToolsActivePort"
        if told.is_file() and (lines := told.read_text().splitlines()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json") as reply:
                pages = [row for row in json.load(reply) if row["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise TimeoutError("Chromium does not start")
