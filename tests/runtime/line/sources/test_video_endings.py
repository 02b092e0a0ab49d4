"""The ends of videos: a recording finishes, whole or cut short; everything else counts as lost."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from goodparts.runtime.core.errors import SourceError
from goodparts.runtime.line.capture import Capture
from goodparts.runtime.line.context import LineContext
from goodparts.runtime.line.frames import FrameQueue
from goodparts.runtime.line.meter import Meter
from goodparts.runtime.line.sources.address import make_source

from tests.conftest import draw_part
from tests.runtime.line.sources.camera import read_video, record_stream
from tests.runtime.line.sources.rtsp_server import RtspServer

FRAMES = 30
RATE = 25


def record(path: Path, **options: str) -> Path:
    """Write FRAMES pictures as H.264 into a container whose format is that of the file's ending."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=RATE, options={"bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        rng = np.random.default_rng(0)
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (120, 160, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def transport_stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stream") / "camera.ts"
    return record_stream(path, [np.asarray(draw_part(seed)) for seed in range(5)])


def test_a_live_stream_that_announces_a_duration_is_lost_when_it_ends_and_opened_again(transport_stream: Path) -> None:
    server, messages, stop = RtspServer(transport_stream, 5.0), list[str](), threading.Event()

    def report(text: str) -> None:
        messages.append(text)
        if text.endswith("pictures arrive again"):
            stop.set()

    context = LineContext(report, first_delay=0.01, stop=stop)
    queue, meter = FrameQueue("newest"), Meter("left")
    Capture("left", make_source(server.address, 5.0), queue, meter, context).run()
    server.close()
    assert messages == [
        f"left: {server.address}: the stream ended; will keep trying, first in 0.01 s",
        "left: pictures arrive again",
    ]
    assert server.connections == 2


@pytest.mark.parametrize("ending", [".mkv", ".ts"])
def test_a_stream_over_tcp_is_lost_when_it_ends_even_if_it_announces_a_duration(tmp_path: Path, ending: str) -> None:
    data = record(tmp_path / f"whole{ending}").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def send() -> None:
            client, _ = listening.accept()
            with client:
                client.sendall(data)

        thread = threading.Thread(target=send)
        thread.start()
        with pytest.raises(SourceError, match="the stream ended"):
            read_video(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize(("ending", "options"), [(".mp4", {"movflags": "faststart"}), (".mkv", {}), (".avi", {})])
def test_a_file_that_ends_early_is_reported_as_cut_short(tmp_path: Path, ending: str, options: dict[str, str]) -> None:
    path = record(tmp_path / f"whole{ending}", **options)
    assert read_video(str(path))[1] == []
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    pictures, events = read_video(str(path))
    assert 0 < len(pictures) < FRAMES
    told = " ".join(event.message or "" for event in events)
    if ending == ".mkv":
        assert re.search(r"it is cut short.*0\.\d s of 1\.2 s", told)
    else:
        assert f"it is cut short: {len(pictures)} of {FRAMES} frames" in told


def test_a_file_that_ends_in_the_middle_is_finished_and_not_begun_again(tmp_path: Path) -> None:
    path = record(tmp_path / "whole.mp4", movflags="faststart")
    path.write_bytes(path.read_bytes()[:-5000])
    messages, queue = list[str](), FrameQueue("newest")
    Capture("left", make_source(str(path), 5.0), queue, Meter("left"), LineContext(messages.append)).run()
    assert "it is cut short" in messages[-2]
    assert re.fullmatch(r"left: finished after \d+ pictures", messages[-1])


@pytest.fixture
def http(tmp_path: Path) -> Iterator[str]:
    """The address of a folder's files.

    half/NAME sends half a file with the length of the whole; live/NAME sends a file without a length.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, _, name = self.path[1:].rpartition("/")
            data = (tmp_path / name).read_bytes()
            self.send_response(200)
            if kind != "live":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if kind == "half" else data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
def test_over_http_only_a_file_of_known_length_read_to_its_end_is_finished(
    tmp_path: Path, http: str, ending: str
) -> None:
    name = record(tmp_path / f"whole{ending}", **({"movflags": "faststart"} if ending == ".mp4" else {})).name
    pictures, events = read_video(f"{http}/{name}")
    assert len(pictures) == FRAMES
    assert events == []
    for kind in ("half", "live"):
        with pytest.raises(SourceError):
            read_video(f"{http}/{kind}/{name}")
