from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.core.errors import SettingsError, SourceError
from goodparts.runtime.line.sources.address import make_source

from tests.conftest import draw_part
from tests.runtime.conftest import FRAMES
from tests.runtime.line.sources.camera import read_stream, read_video, record_stream


@pytest.fixture
def server(recording: Path) -> Iterator[str]:
    """The address at which the recording's folder is served over HTTP."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Silent, directory=str(recording.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_recording_gives_all_its_frames_in_rgb(recording: Path) -> None:
    pictures, events = read_video(str(recording))
    assert len(pictures) == FRAMES
    assert events == []
    # H.264 at this quality, and chroma of half the resolution.
    difference = pictures[0].astype(int) - np.asarray(draw_part(1))
    assert np.abs(difference).mean() < 6


def test_pictures_in_which_the_decoder_conceals_lost_data_are_dropped(tmp_path: Path) -> None:
    stream = record_stream(tmp_path / "whole.ts", [np.asarray(draw_part(seed)) for seed in range(4)])
    data, whole = stream.read_bytes(), read_stream(stream)
    middle = len(data) // 2 // 188 * 188
    for name, rest in (("cut.ts", data[: middle + 9000]), ("gap.ts", data[:20_000] + data[20_000 + 188 * 20 :])):
        (tmp_path / name).write_bytes(rest)
        damaged, events = read_video(str(tmp_path / name))
        assert 0 < len(damaged) < len(whole)
        assert all(any((one == other).all() for other in whole) for one in damaged)
        assert sum(event.failed for event in events) > 0


def test_a_recording_over_http_ends_as_well(server: str, recording: Path) -> None:
    pictures, events = read_video(f"{server}/{recording.name}")
    assert len(pictures) == FRAMES
    assert events == []


def test_a_file_that_is_no_video_or_is_missing_gives_an_error_of_one_line(server: str, tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(SettingsError, match=r"junk.mp4: the file holds no video or picture that can be read"):
        read_video(str(tmp_path / "junk.mp4"))
    with pytest.raises(SourceError, match=r"none.mp4: .*404"):
        read_video(f"{server}/none.mp4")


def test_a_silent_stream_counts_as_lost_and_no_password_is_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        with pytest.raises(SourceError, match="nothing came for 0.3 s") as raised:
            read_video(f"http://user:secret@{host}:{port}/live", timeout=0.3)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("address", ["/nowhere/at/all.mp4", "gopher://host/x"])
def test_an_address_that_means_nothing_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="source "):
        make_source(address, 1.0)


def test_a_recipe_or_program_as_source_is_refused_and_a_picture_is_not(
    recipe_file: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "outputs.py").write_text("import json\n")
    for path in (recipe_file, tmp_path / "outputs.py"):
        with pytest.raises(SettingsError, match=f"source {path}: the file holds no video or picture"):
            make_source(str(path), 1.0)
    make_source(str(photos / "bad" / "4.png"), 1.0)


def test_a_host_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(SourceError, match="rtsp://camera.invalid/live: host 'camera.invalid' is not known"):
        read_video("rtsp://me:secret@camera.invalid/live", 5.0)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "[::1", "user:sekret\uff031@nohost.invalid"])
def test_an_address_that_names_no_host_is_an_error_of_one_line_without_secrets(host: str) -> None:
    with pytest.raises(SourceError) as raised:
        read_video(f"rtsp://{host}/live", 5.0)
    assert "\n" not in str(raised.value)
    assert "sekret" not in str(raised.value)
