"""The studio in a browser, used step by step as a person uses it.

With GOODPARTS_SCREENSHOTS=docs/studio in the environment, a screenshot of every step is written to that folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import time
from pathlib import Path

import av
import numpy as np
import pytest
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime import Recipe
from goodparts.runtime.recipe.settle import FEWEST_PARTS
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from tests.runtime.studio.conftest import OpenStudio, to_png

pytest.importorskip("websockets")
from tests.runtime.page.browser import CHROMIUM, Browser, nothing_odd
from tests.runtime.page.test_browser import NASTY

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

SCREENSHOTS = Path(os.environ["GOODPARTS_SCREENSHOTS"]).absolute() if "GOODPARTS_SCREENSHOTS" in os.environ else None
WIDTH, HEIGHT = 400, 300
GOOD, PIECES = 6, 9
DESKTOP, TABLET, UPRIGHT = (1440, 900), (1180, 820), (820, 1180)


class Parts:
    """Drawn nuts under one camera: photos of good and of bad pieces, and a video of each."""

    def __init__(self, folder: Path) -> None:
        product = DrawnProduct("nut", 3)
        self.good = [self._save(folder, product, seed, None) for seed in range(PIECES)]
        self.bad = [self._save(folder, product, seed, defect) for seed, defect in ((50, "scratch"), (51, "crack"))]
        self.good_video = self._record(folder / "good.mp4", self.good)
        self.bad_video = self._record(folder / "bad.mp4", self.bad)

    def _save(self, folder: Path, product: DrawnProduct, seed: int, defect: str | None) -> Path:
        extent = 75.0 if defect else None
        image = product.photo(seed, defect, (HEIGHT, WIDTH), extent=extent).image
        path = folder / f"{'bad' if defect else 'good'}-{seed:02}.png"
        Image.fromarray(image).save(path)
        return path

    def varied(self, number: int) -> bytes:
        """Return a photo of another good piece, which lies at a slightly different place."""
        with Image.open(self.good[GOOD + number % (PIECES - GOOD)]) as photo:
            return to_png(ImageChops.offset(photo.convert("RGB"), number % 5 - 2, number // 5 - 1))

    def _record(self, path: Path, pieces: list[Path]) -> Path:
        """Write a video that shows each piece for a third of a second."""
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=3, options={"crf": "12"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for piece in pieces:
                frame = av.VideoFrame.from_ndarray(np.asarray(Image.open(piece)), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return Parts(tmp_path_factory.mktemp("parts"))


def keep(browser: Browser, name: str) -> None:
    """Write a screenshot, if the environment asks for screenshots."""
    if SCREENSHOTS is not None:
        browser.run("scrollTo(0, 0), new Promise((done) => setTimeout(done, 1300))")
        browser.screenshot(SCREENSHOTS / f"{name}.jpg")


def fits(browser: Browser) -> None:
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def in_picture(browser: Browser, x: float, y: float) -> tuple[float, float]:
    """Return the position on the page of a pixel of the frame."""
    box = browser.run("document.querySelector('#drawing').getBoundingClientRect().toJSON()")
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    left, top = (box["width"] - scale * WIDTH) / 2, (box["height"] - scale * HEIGHT) / 2
    return box["x"] + left + scale * x, box["y"] + top + scale * y


def text(browser: Browser, selector: str, part: str) -> str:
    """Wait until the text of an element contains `part`, and return the whole text."""
    found = f"document.querySelector({selector!r}).innerText"
    return str(browser.wait(f"{found}.includes({part!r}) && {found}"))


def go(browser: Browser, step: int, name: str) -> None:
    """Go to a step by its key, with no field in focus."""
    browser.run("document.activeElement.blur()")
    browser.press(str(step))
    browser.wait(f"document.body.dataset.step === {name!r}")


def show(browser: Browser, address: Path) -> None:
    """Show a source by its address."""
    browser.type("#address input", str(address))
    browser.click("#address button")
    text(browser, "#playing p", f"{address.stem} is shown")
    browser.wait(f"document.querySelector('#said').innerText.startsWith({address.stem!r})")


def open_product(browser: Browser, url: str, size: tuple[int, int], name: str) -> None:
    """Open the page of an empty workspace and make a product."""
    browser.open(url, *size)
    assert text(browser, "#empty", "No picture yet").endswith("or drop photos here.")
    fits(browser)
    keep(browser, f"{name}-0-empty")
    browser.type("#create input", "Nut M8")
    browser.click("#create button")
    browser.wait("!document.querySelector('#choose').hidden")


def teach(browser: Browser, name: str, good: int) -> None:
    go(browser, 4, "teach")
    text(browser, "#ready", f"{good} good pictures")
    browser.press("t")
    text(browser, "#teaching", f"Learned from {good} pictures")
    browser.wait("!document.querySelector('#verdict').hidden")
    fits(browser)
    keep(browser, f"{name}-4-teach")


@pytest.mark.parametrize(("size", "name"), [(DESKTOP, "desktop"), (TABLET, "tablet")])
def test_a_product_is_taught_from_a_video_and_finds_a_defect(
    browser: Browser,
    open_studio: OpenStudio,
    parts: Parts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)  # so that the page shows short paths
    videos = [Path(Path(shutil.copy(video, tmp_path)).name) for video in (parts.good_video, parts.bad_video)]
    client = open_studio(Path("products"))
    open_product(browser, client.page.url, size, name)
    show(browser, videos[0])
    keep(browser, f"{name}-1-source")

    go(browser, 2, "region")
    browser.drag(in_picture(browser, 50, 20), in_picture(browser, 350, 280))
    box = re.search(r"rectangle of (\d+)×(\d+)", text(browser, "#drawn", "rectangle of"))
    assert box is not None
    assert abs(int(box[1]) - 300) <= 2
    assert abs(int(box[2]) - 260) <= 2
    browser.click("#show-defect")
    browser.drag(in_picture(browser, 230, 60), in_picture(browser, 239, 69))
    assert "2 passes" in text(browser, "#tiles", "1×2 tiles")
    fits(browser)
    keep(browser, f"{name}-2-region")

    go(browser, 3, "collect")
    good = "document.querySelector('.group[data-kind=good] b').innerText"
    while (count := int(browser.wait(good))) < GOOD:
        shown = browser.run("document.querySelector('#refused').textContent = '', document.querySelector('#live').src")
        browser.wait(f"document.querySelector('#live').src !== {shown!r}")
        browser.press(" ")
        browser.wait(f"{good} !== '{count}' || document.querySelector('#refused').innerText.includes('same picture')")
    browser.press("b")
    browser.press("z")  # It was good after all. The picture may still be on its way.
    text(browser, ".group[data-kind=bad] b", "0")
    text(browser, ".group[data-kind=removed] b", "1")
    browser.wait("document.querySelector('.group img').naturalWidth")
    fits(browser)
    keep(browser, f"{name}-3-collect")
    teach(browser, name, GOOD)

    go(browser, 5, "settle")
    browser.type("#gather [name=parts]", "3")
    browser.type("#gather [name=seconds]", "0.2")
    browser.click("#gather button")
    text(browser, "#gathered", "3 unsorted parts so far")
    for number in range(FEWEST_PARTS - 3):  # uploading the others is faster
        client.upload(parts.varied(number), f"product=Nut-M8&kind=settle&name={number}.png")
    for photo in parts.bad:
        client.upload(photo.read_bytes(), f"product=Nut-M8&kind=bad&name={photo.name}")
    text(browser, "#proposals", f"from {FEWEST_PARTS} unsorted parts")
    judged = client.get("/scores?product=Nut-M8").json
    middle = statistics.median(scored["image"] for scored in judged["scores"]) / judged["threshold"]
    slider = "document.querySelector('#slider')"
    browser.run(f"{slider}.value = Math.log({middle}), {slider}.dispatchEvent(new Event('input'))")
    changing = browser.wait("document.querySelectorAll('#changing .tile').length")
    assert "→ reject" in text(browser, "#changing", "reject")
    assert changing > 0
    drawn = "document.querySelector('#histogram').getContext('2d').getImageData(0, 0, 300, 100).data"
    assert browser.run(f"{drawn}.some((value) => value > 0)")
    fits(browser)
    keep(browser, f"{name}-5-settle")
    recipe = client.studio.workspace.product("Nut-M8").recipe_path
    before = Recipe.open(recipe).header
    browser.click("#proposals button")
    browser.wait("document.querySelector('#apply').disabled")
    after = Recipe.open(recipe).header
    assert after.calibration.source == "unlabelled parts"
    assert after.thresholds.image != before.thresholds.image
    browser.click("#review")
    browser.click("#apply")
    browser.wait("document.querySelector('#apply').disabled")
    assert Recipe.open(recipe).header.thresholds.review == 0.8

    go(browser, 1, "source")
    show(browser, videos[1])
    text(browser, "#verdict", "REJECT")
    go(browser, 5, "settle")
    keep(browser, f"{name}-6-defect")

    go(browser, 6, "products")
    browser.type("#rename input", "Nut M8 zinc")
    browser.click("#rename button")
    text(browser, "#product", "Nut M8 zinc")
    browser.click("#copy")
    browser.type("#naming input", "Nut M8 brass")
    browser.click("#naming button[value=yes]")
    browser.wait("document.querySelector('#product').selectedOptions[0].text === 'Nut M8 brass'")
    browser.click(".card:not([aria-current=true])")
    browser.wait("document.querySelector('#product').selectedOptions[0].text === 'Nut M8 zinc'")
    text(browser, "#verdict", "REJECT")
    fits(browser)
    keep(browser, f"{name}-7-products")
    browser.click("#undo")
    browser.click("#confirm button[value=yes]")
    text(browser, "#undo", "threshold moved")
    assert Recipe.open(recipe).header.product == "Nut M8"
    assert Recipe.open(recipe.parents[1] / "Nut-M8-brass" / recipe.name).header.product == "Nut M8 zinc"
    nothing_odd(browser, client.port)


def test_the_page_tells_what_to_do_when_nothing_was_done(
    browser: Browser, open_studio: OpenStudio, parts: Parts, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(parts.good[0], folder)
    open_product(browser, open_studio().page.url, DESKTOP, "unkept")
    browser.click("#address button")
    text(browser, "#refused", "“Camera, stream, video or folder” is empty: fill it in.")

    browser.type("#address input", "rtsp://127.0.0.1:9/live")
    browser.click("#address button")
    text(browser, "#playing", "127.0.0.1:9/live: ")
    browser.type("#address input", "/nope")
    browser.click("#address button")
    text(browser, "#refused", "/nope")
    browser.wait("document.querySelector('#playing p').hidden")

    browser.type("#address input", str(folder))
    browser.click("#address button")
    browser.wait(f"document.querySelector('#said').innerText.startsWith({parts.good[0].stem!r})")
    go(browser, 3, "collect")
    browser.press(" ")
    text(browser, ".group[data-kind=good] b", "1")
    browser.press(" ")
    assert text(browser, "#refused", "kept") == "This picture is kept already; wait for the next one."
    browser.wait("!document.querySelector('#ended').hidden")
    text(browser, "#ended", "Every picture of the folder was shown.")
    fits(browser)
    shown = browser.run("document.querySelector('#live').src")
    browser.click("#again")
    browser.wait(f"document.querySelector('#ended').hidden && document.querySelector('#live').src !== {shown!r}")


def test_a_product_is_taught_from_dropped_photos_in_german(
    browser: Browser, open_studio: OpenStudio, parts: Parts, tmp_path: Path
) -> None:
    client = open_studio()
    open_product(browser, client.page.url, UPRIGHT, "upright")
    browser.run(
        "(() => { const language = document.querySelector('#language'); language.value = 'de'; "
        "language.dispatchEvent(new Event('change')) })()"
    )
    assert text(browser, "[data-panel=source] h2", "Quelle") == "Quelle wählen"
    browser.drop("#view", parts.good[:4])  # they are looked at one after another, and taken by a key
    text(browser, "#position", "Foto 1 von 4")
    go(browser, 2, "region")
    browser.click("#polygon")
    browser.run("scrollTo(0, 0)")
    for corner in ((80, 20), (320, 20), (380, 280), (20, 280), (80, 20)):  # the first one again closes it
        browser.drag(in_picture(browser, *corner), in_picture(browser, *corner))
    text(browser, "[data-panel=region] #drawn", "Ecken lassen sich ziehen")
    browser.wait("document.querySelector('#steps :nth-child(2) small').innerText === 'Polygon'")
    assert len(client.studio.workspace.product("Nut-M8").settings().polygon) == 4
    browser.drag(in_picture(browser, 320, 20), in_picture(browser, 300, 40))  # a corner is moved
    settings = client.studio.workspace.product("Nut-M8").settings
    end = time.monotonic() + 20
    while abs(settings().polygon[1][1] - 40) > 2:
        assert time.monotonic() < end, settings()
        time.sleep(0.05)
    go(browser, 3, "collect")
    for number in range(1, 5):
        text(browser, "#position", f"Foto {number} von 4")
        browser.wait(f"document.querySelector('#said').innerText.startsWith('{parts.good[number - 1].name}')")
        browser.press(" ")
        text(browser, ".group[data-kind=good] b", str(number))
    dark, blurred = tmp_path / "dark.png", tmp_path / "blurred.png"
    with Image.open(parts.good[5]) as photo:
        ImageEnhance.Brightness(photo).enhance(0.7).save(dark)
        photo.filter(ImageFilter.GaussianBlur(3)).save(blurred)
    browser.drop(".group[data-kind=good]", [parts.good[0], dark, blurred, *parts.good[4:5], *parts.good[6:8]])
    text(browser, ".group[data-kind=good] b", "10")
    marks = "[...document.querySelectorAll('.tile .mark')].map((mark) => mark.innerText).sort().join()"
    assert (
        browser.wait(f"document.querySelectorAll('.tile .mark').length === 3 && {marks}") == "doppelt,dunkler,unscharf"
    )
    browser.drop(".group[data-kind=bad]", parts.bad)
    text(browser, ".group[data-kind=bad] b", "2")
    fits(browser)
    keep(browser, "upright-3-collect")
    for left in (2, 1, 0):
        browser.click(".tile.noted")
        browser.wait("document.querySelector('#viewer[open] .pair img').naturalWidth")
        browser.click("#viewer button[value=removed]")
        browser.wait(f"document.querySelectorAll('.tile.noted').length === {left}")
    browser.run("scrollTo(0, 0)")
    go(browser, 4, "teach")
    browser.press("t")
    text(browser, "#teaching", "Aus 7 Bildern gelernt")
    browser.drop("#view", parts.bad)
    text(browser, "#verdict", "AUSSCHUSS")
    assert browser.run("import('./text.js').then(({ score }) => score(0.9999))") == "0,99"  # below the threshold
    fits(browser)
    keep(browser, "upright-4-teach")
    nothing_odd(browser, client.port)


def test_hostile_names_stay_text(browser: Browser, open_studio: OpenStudio, parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "products" / NASTY.replace("/", "∕")
    (folder / "good").mkdir(parents=True)
    shutil.copy(parts.good[0], folder / "good" / f"{NASTY.replace('/', '∕')}.png")
    (folder / "product.json").write_text(json.dumps({"name": NASTY}))
    client = open_studio(tmp_path / "products")
    browser.open(client.page.url, *DESKTOP)
    browser.wait("document.querySelector('#product').selectedOptions.length")
    assert browser.run("document.querySelector('#product').selectedOptions[0].text") == NASTY
    go(browser, 3, "collect")
    browser.wait("document.querySelector('.tile img').naturalWidth")
    browser.click(".tile")
    assert NASTY.replace("/", "∕") in text(browser, "#viewer .caption", "script")
    browser.wait("document.querySelector('#viewer .pair img').naturalWidth")
    assert browser.run("document.querySelectorAll('main script, [src=x], [onerror]').length") == 0
    nothing_odd(browser, client.port)
