"""A studio that tests ask over HTTP, with the engine that ships with goodparts."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from goodparts.runtime import Engine
from goodparts.runtime.line.shared_engine import SharedEngine
from goodparts.runtime.page.page import ServedPage
from goodparts.runtime.studio.studio import Studio
from PIL import Image

from tests.conftest import draw_part
from tests.runtime.page.conftest import ACTION, Reply, _close_at_once  # noqa: F401  (a fixture)

UPLOAD = {"X-Goodparts": "1", "Content-Type": "application/octet-stream"}


def to_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


class StudioClient:
    """An HTTP client of a studio.

    Attributes:
        product: The id of the product that `state` returns.
    """

    def __init__(self, studio: Studio, page: ServedPage) -> None:
        self.studio, self.page, self.port, self.product = studio, page, page.port, ""

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return Reply(reply.status, reply.read(), reply.headers)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self.ask("GET", path, None, headers)

    def act(self, path: str, **action: Any) -> Reply:
        return self.ask("POST", path, json.dumps(action).encode(), ACTION)

    def upload(self, data: bytes, query: str, path: str = "/upload") -> Reply:
        return self.ask("POST", f"{path}?{query}", data, UPLOAD)

    def create(self, name: str, good: int = 0) -> str:
        """Make a product with photos of drawn good parts, select it and return its id."""
        self.product = self.act("/create", name=name).json
        for seed in range(good):
            query = f"product={self.product}&kind=good&name={seed}.png"
            assert self.upload(to_png(draw_part(seed)), query).status == 200
        return self.product

    def state(self) -> Any:
        return self.get(f"/state?product={self.product}").json["product"]

    def teach(self) -> Any:
        """Teach the product and wait for its recipe."""
        before = self.state()
        assert self.act("/teach", product=self.product, seen=before["revision"]).status == 200
        return self.wait(lambda state: state["teaching"] is None and state)["recipe"]

    def wait(self, look: Callable[[Any], Any]) -> Any:
        end = time.monotonic() + 60
        while not (found := look(self.state())):
            assert time.monotonic() < end, self.state()
            time.sleep(0.02)
        return found


OpenStudio = Callable[..., StudioClient]


@pytest.fixture(scope="session")
def shared_engine() -> SharedEngine:
    return SharedEngine(Engine.open, 0.0)


@pytest.fixture
def open_studio(shared_engine: SharedEngine, tmp_path: Path) -> Iterator[OpenStudio]:
    """Return a function that opens a studio on a folder, with its page on a free port."""
    with contextlib.ExitStack() as stack:

        def make(
            folder: Path = tmp_path / "products", *, token: Path | None = None, signer: Any = None, **options: Any
        ) -> StudioClient:
            studio = Studio(folder, shared_engine, options.pop("named", ()), signer, lambda _: None, **options)
            stack.callback(studio.close)
            token_file = None if token is None else str(token)
            page = ServedPage("127.0.0.1:0", token_file, None, studio.app, lambda _: None, "studio")
            stack.callback(page.close)
            return StudioClient(studio, page)

        yield make


@pytest.fixture
def client(open_studio: OpenStudio) -> StudioClient:
    return open_studio()
