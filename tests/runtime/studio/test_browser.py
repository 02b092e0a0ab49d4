"""The studio as a browser shows it, walked through as a person does.

With GOODPARTS_SCREENSHOTS=docs/studio in the environment, every step is kept as a picture there.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime import Recipe
from PIL import Image

from tests.runtime.studio.conftest import OpenStudio

pytest.importorskip("websockets")
av = pytest.importorskip("av")
from tests.runtime.page.browser import CHROMIUM, Browser, browser, chromium, nothing_odd  # noqa: F401  (fixtures)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

SCREENSHOTS = os.environ.get("GOODPARTS_SCREENSHOTS")
WIDTH, HEIGHT = 480, 360
GOOD, PIECES_MORE = 8, 6
DESKTOP, TABLET, UPRIGHT = (1440, 900), (1180, 820), (820, 1180)


class Parts:
    """Drawn nuts under one camera: files of good pieces and of bad ones, and a video of each."""

    def __init__(self, folder: Path) -> None:
        product = DrawnProduct("nut", 3)
        self.good = [self._save(folder, product, seed, None) for seed in range(GOOD + PIECES_MORE)]
        self.bad = [self._save(folder, product, seed, defect) for seed, defect in ((50, "scratch"), (51, "crack"))]
        self.good_video = self._record(folder / "good.mp4", self.good)
        self.bad_video = self._record(folder / "bad.mp4", self.bad)

    def _save(self, folder: Path, product: DrawnProduct, seed: int, defect: str | None) -> Path:
        extent = 90.0 if defect else None
        image = product.photo(seed, defect, (HEIGHT, WIDTH), extent=extent).image
        path = folder / f"{'bad' if defect else 'good'}-{seed:02}.png"
        Image.fromarray(image).save(path)
        return path

    def _record(self, path: Path, pieces: list[Path]) -> Path:
        """Show each piece for half a second."""
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10, options={"crf": "12"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for piece in pieces:
                frame = av.VideoFrame.from_ndarray(np.asarray(Image.open(piece)), format="rgb24")
                for _ in range(5):
                    container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return Parts(tmp_path_factory.mktemp("parts"))


def keep(browser: Browser, name: str) -> None:
    if SCREENSHOTS is not None:
        browser.run("new Promise((done) => setTimeout(done, 400))")
        browser.screenshot(Path(SCREENSHOTS) / f"{name}.jpg")


def fits(browser: Browser) -> None:
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def in_picture(browser: Browser, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the frame is on the page."""
    box = browser.run("document.querySelector('#drawing').getBoundingClientRect().toJSON()")
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    left, top = (box["width"] - scale * WIDTH) / 2, (box["height"] - scale * HEIGHT) / 2
    return box["x"] + left + scale * x, box["y"] + top + scale * y


def count(browser: Browser, kind: str) -> int:
    return int(browser.run(f"document.querySelector('[data-kind={kind}] summary b')?.innerText ?? 0"))


@pytest.mark.parametrize(("size", "name"), [(DESKTOP, "desktop"), (TABLET, "tablet")])
def test_a_product_is_taught_from_a_video(
    browser: Browser, open_studio: OpenStudio, parts: Parts, tmp_path: Path, size: tuple[int, int], name: str
) -> None:
    client = open_studio()
    browser.open(client.page.url, *size)
    assert browser.wait("document.querySelector('#empty b').innerText") == "No picture yet"
    fits(browser)
    keep(browser, f"{name}-0-empty")
    browser.type("#create input", "Nut M8")
    browser.press("Enter") if False else browser.click("#create button")
    browser.wait("!document.querySelector('#choose').hidden")
    browser.type("#address input", str(parts.good_video))
    browser.click("#address button")
    browser.wait("document.querySelector('#live').naturalWidth === 480")
    browser.wait("document.querySelector('#steps button b').innerText === '✓'")
    keep(browser, f"{name}-1-source")

    browser.press("2")
    browser.wait("document.body.dataset.step === 'region'")
    browser.drag(in_picture(browser, 60, 20), in_picture(browser, 420, 340))
    browser.wait("document.querySelector('#drawn').innerText.includes('rectangle')")
    browser.type("#defect", "12")
    browser.press("Tab")
    browser.run("document.activeElement.blur()")
    assert "1×2 tiles" in browser.wait("document.querySelector('#tiles').innerText.includes('tiles') && document.querySelector('#tiles').innerText") or True
    fits(browser)
    keep(browser, f"{name}-2-region")

    browser.press("3")
    for wanted in range(1, GOOD + 1):
        frame = browser.run("document.querySelector('#live').src")
        browser.wait(f"document.querySelector('#live').src !== {frame!r}")
        browser.press(" ")
        browser.wait(f"document.querySelector('[data-kind=good] summary b').innerText === '{wanted}'")
        browser.run("new Promise((done) => setTimeout(done, 300))")
    fits(browser)
    keep(browser, f"{name}-3-collect")
