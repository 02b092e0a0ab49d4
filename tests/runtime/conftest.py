"""Fixtures: a short H.264 recording of drawn parts, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from tests.conftest import draw_part

if TYPE_CHECKING:
    from tests.runtime.page.browser import Browser

FRAMES = 12
BAD = (4, 5, 6)
"""The frames of the recording that show a defect."""


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "parts.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:  # can be read while it arrives
        stream = container.add_stream("libx264", rate=30, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(FRAMES):
            pixels = np.asarray(draw_part(1, defect=number in BAD))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    pytest.importorskip("websockets")
    from tests.runtime.page.browser import Browser

    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.open("about:blank")
    chromium.wait("location.href === 'about:blank'")  # the last test's page sends no more requests
    chromium.events.clear()
    return chromium
