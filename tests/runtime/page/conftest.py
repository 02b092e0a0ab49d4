"""A line with a page that tests ask over HTTP. Tests pass results to the page themselves, so they need not wait."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from goodparts.runtime import Detector, Engine, Recipe
from goodparts.runtime.core.errors import GoodpartsError
from goodparts.runtime.line import open_line as opening
from goodparts.runtime.line.frames import Frame
from goodparts.runtime.line.line import Line
from goodparts.runtime.line.open_line import open_line as make_line
from goodparts.runtime.line.results import Result, make_result
from goodparts.runtime.line.settings import LineSettings, OutputSettings, SourceSettings
from goodparts.runtime.page.page import Page
from goodparts.runtime.page.server import Server

from tests.conftest import draw_part

TOKEN = "a token of a test".replace(" ", "-")
ACTION = {"X-Goodparts": "1", "Content-Type": "application/json"}


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """An HTTP client of a line's page."""

    def __init__(self, line: Line, page: Page) -> None:
        self.line, self.page, self.port = line, page, page.port

    def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Reply:
        return self._ask(method, path, None, headers or {})

    def post(self, path: str, action: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
        return self._ask("POST", path, json.dumps(action).encode(), ACTION if headers is None else headers)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return Reply(reply.status, reply.read(), reply.headers)


OpenLine = Callable[..., Client]


@pytest.fixture(scope="session")
def engine(engine_folder: Path) -> Engine:
    return Engine.open(engine_folder)


@pytest.fixture(scope="session", autouse=True)
def _close_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "serve_forever", partialmethod(Server.serve_forever, poll_interval=0.01))
        yield


@pytest.fixture
def open_line(engine: Engine, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLine]:
    """Return a function that makes a line with a page on a free port.

    It takes the settings of each source by the source's name, a report, and settings of the output.
    """
    clients: list[Client] = []
    monkeypatch.setattr(opening, "open_engine", lambda _: engine)

    def make(
        sources: dict[str, dict[str, Any]] | None = None, report: Callable[[str], None] = print, **output: Any
    ) -> Client:
        (tmp_path / "in").mkdir(exist_ok=True)
        common = {"address": str(tmp_path / "in"), "recipe": str(recipe_file)}
        settings = tuple(
            SourceSettings(name=name, **(common | more)) for name, more in (sources or {"left": {}}).items()
        )
        out = OutputSettings(**({"page": "127.0.0.1:0"} | output))
        line = make_line(LineSettings(engine="", source=settings, output=out), report)
        clients.append(Client(line, Page(line, out, report)))
        return clients[-1]

    yield make
    for client in clients:
        client.page.close()
        for outlet in client.line.outlets:
            outlet.start()
            outlet.close()
            outlet.join(10)


@pytest.fixture(scope="session")
def client(engine: Engine, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One line for all tests that change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_engine", lambda _: engine)
        folder = tmp_path_factory.mktemp("in")
        source = SourceSettings(name="left", address=str(folder), recipe=str(recipe_file))
        output = OutputSettings(page="127.0.0.1:0")
        line = make_line(LineSettings(engine="", source=(source,), output=output), print)
    page = Page(line, output, print)
    yield Client(line, page)
    page.close()


def scored(result: Result, number: int, factor: float) -> Result:
    """Return a copy of a result with another frame number, and with the raw image score times a factor."""
    assert result.inspection is not None
    inspection = dataclasses.replace(result.inspection, raw_score=result.inspection.raw_score * factor)
    return dataclasses.replace(result, inspection=inspection, record=result.record | {"frame": number})


@pytest.fixture(scope="session")
def results(engine: Engine, recipe: Recipe) -> dict[str, Result]:
    """The results of a source "left": of a good part, of a bad part, and of a frame that could not be inspected."""
    detector = Detector(engine, recipe)
    found = {}
    for number, kind in enumerate(("good", "reject", "error")):
        pixels = np.asarray(draw_part(1, defect=kind == "reject"))
        frame = Frame("left", number, pixels, None, 0.0, 0.0)
        outcome = GoodpartsError("broken") if kind == "error" else (detector.predict(pixels), kind)
        found[kind] = make_result(frame, outcome)  # type: ignore[arg-type]
    return found
