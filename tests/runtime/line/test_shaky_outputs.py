"""Outputs that fail at random while logs are rotated: every frame has one line, and every loss is counted."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from goodparts.runtime.line.open_line import open_line
from goodparts.runtime.line.settings import LineSettings, OutputSettings, SourceSettings

from tests.runtime.conftest import FRAMES
from tests.runtime.line.outputs.broker import ForgetfulBroker

pytest.importorskip("paho")

Frame = tuple[str, int]
"""The name of its source, and its number."""
SOURCES = ("a", "b", "c", "d")


@contextlib.contextmanager
def shaky_webhook(choose: random.Random) -> Iterator[tuple[str, list[Frame]]]:
    """Answer with success, an error, a redirect, or not at all; yield the address and the frames that succeeded."""
    taken: list[Frame] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = choose.choice((204, 204, 204, 500, 302, None))
            if status is None:
                return
            if status == 204:
                taken.append((record["source"], record["frame"]))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://me:secret-word@127.0.0.1:{server.server_address[1]}/secret-path", taken
        server.shutdown()
        thread.join(30)


def rotate(path: Path, is_over: threading.Event) -> None:
    """Rename a file again and again, sometimes with a new one in its place."""
    choose, number = random.Random(1), 0
    while not is_over.wait(choose.uniform(0.0, 0.05)):
        if path.exists():
            number += 1
            path.rename(path.with_name(f"{path.name}.{number}"))
            if choose.random() < 0.5:
                path.touch()


def frames_in(data: bytes) -> Frame:
    record = json.loads(data)
    return record["source"], record["frame"]


def test_every_frame_has_one_line_and_every_loss_is_counted(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path
) -> None:
    choose = random.Random(0)
    out, is_over, messages = tmp_path / "out.jsonl", threading.Event(), list[str]()
    broker = ForgetfulBroker(lambda: choose.random() < 0.9 or len(broker.published) > 20)
    broker.start()
    with shaky_webhook(choose) as (webhook, posted):
        source = {"address": str(recording), "recipe": str(recipe_file), "threshold": 1e-6}
        settings = LineSettings(
            engine=str(engine_folder),
            source=tuple(SourceSettings(name=name, **source) for name in SOURCES),
            output=OutputSettings(
                json=str(out), webhook=webhook, mqtt=f"mqtt://127.0.0.1:{broker.port}/t",
                rejects=str(tmp_path / "rejects"),
            ),
        )  # fmt: skip
        line = open_line(settings, messages.append, first_delay=1e-3)
        rotation = threading.Thread(target=rotate, args=(out, is_over))
        rotation.start()
        is_complete = line.run(lambda: None)
        is_over.set()
        rotation.join(30)
    broker.close()
    frames = {(name, number) for name in SOURCES for number in range(FRAMES)}
    lines = [line for file in tmp_path.glob("out.jsonl*") for line in file.read_bytes().splitlines()]
    assert Counter(map(frames_in, lines)) == Counter(frames)
    lost = {outlet.output_name: outlet.lost for outlet in line.outlets}
    assert lost["json"] == 0
    assert len(posted) == len(set(posted)) == len(frames) - lost["webhook"]
    published = {(frames_in(message.payload), message.number) for message in broker.published}
    assert len(published) == len({frame for frame, _ in published}) >= len(frames) - lost["mqtt"]
    kept = list((tmp_path / "rejects").glob("*.json"))
    assert len(kept) == len(frames) - lost["rejects"]
    for name, count in lost.items():
        assert (f"{name}: {count} results were not delivered" in messages) == (count > 0)
    assert is_complete or sum(lost.values())
    assert not any("secret" in message for message in messages)
