"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 60.0
"""Seconds after which a wait fails."""
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


class Browser:
    """One tab of the browser.

    Attributes:
        events: The tab's events so far: requests, dialogs, exceptions, entries of its log.
    """

    def __init__(self, profile: Path) -> None:
        options = [*_OPTIONS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen([str(CHROMIUM), *options], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        address = next(found[1] for line in self._process.stderr if (found := re.search(r"ws://([^/]+)/", line)))
        with urllib.request.urlopen(f"http://{address}/json") as tabs:
            (tab,) = [one for one in json.load(tabs) if one["type"] == "page"]
        self._socket = connect(tab["webSocketDebuggerUrl"], max_size=None, compression=None)
        self._count = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(timeout=60))).get("id") != self._count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str, width: int = 1400, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Run a script and return its value."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """Run a script again and again until its value is truthy, and return that value."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(f"(() => {{ try {{ return {script} }} catch {{ return null }} }})()")):
            assert time.monotonic() < end, f"never true: {script}; the page shows {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def told(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of all events of one kind."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def screenshot(self, path: Path) -> None:
        """Write a screenshot of the tab as a JPEG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="jpeg", quality=85)["data"]))

    def press(self, key: str) -> None:
        """Press and release a key."""
        code = {" ": "Space"}.get(key, key)
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code, **text)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one place and release it at another; at the same place this is a click."""
        mouse = {"button": "left", "buttons": 1, "clickCount": 1}
        moved = [] if start == end else [("mouseMoved", end)]
        for kind, (x, y) in (("mousePressed", start), *moved, ("mouseReleased", end)):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **mouse)

    def drop(self, selector: str, files: list[Path]) -> None:
        """Drop files onto an element, as from a file manager."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        x, y = self.centre(selector)
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def click(self, selector: str) -> None:
        """Scroll to an element and click on it."""
        self.wait(f"document.querySelector({json.dumps(selector)}) !== null")
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'nearest'}})")
        self.drag(self.centre(selector), self.centre(selector))

    def centre(self, selector: str) -> tuple[float, float]:
        """Return the position of an element's centre."""
        box = self.run(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")
        assert box["width"] > 0, f"{selector} is not visible"
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field."""
        field = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{field}.focus(), {field}.select()")
        self.call("Input.insertText", text=text)

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()


def nothing_odd(browser: Browser, port: int) -> None:
    """Check that no script failed, no dialog opened, no policy was violated, and no other server got a request."""
    assert browser.told("Runtime.exceptionThrown") == []
    assert browser.told("Page.javascriptDialogOpening") == []
    assert [one for one in browser.told("Log.entryAdded") if one["entry"]["source"] in ("security", "violation")] == []
    asked = [one["request"]["url"] for one in browser.told("Network.requestWillBeSent")]
    assert asked
    assert [url for url in asked if not url.startswith((f"http://127.0.0.1:{port}/", "about:", "chrome"))] == []
