"""The page opens offline and runs nothing, and no name becomes markup."""

from __future__ import annotations

import html
import re
import shutil
import socket
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from goodparts.evaluation.datasets import Sample
from goodparts.evaluation.report.gather import Evaluation, ShownMeasurement, ShownMistake
from goodparts.evaluation.report.html import draw_heat, to_html
from goodparts.evaluation.report.summary import Summary
from goodparts.evaluation.results import Measurement
from PIL import Image

NASTY = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;.png"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "firefox"))), None)


@pytest.fixture
def page() -> str:
    scores, bad = np.array([0.1, 0.4, 0.3, 0.9], np.float32), np.array([False, False, True, True])
    measurement = Measurement(NASTY, "memory", 1, 0, NASTY, {"image_auroc": 0.75}, {}, 0.35, "")
    view, grid = np.zeros((8, 8, 3), np.uint8), np.ones((2, 2), np.float32)
    mistakes = tuple(
        ShownMistake(Sample(Path("/data") / NASTY.replace("/", "∕"), defect), 0.4, 0.5, view, grid)
        for defect in (None, NASTY)
    )
    shown = ShownMeasurement(measurement, scores, bad, mistakes)
    evaluation = Evaluation(measurements=[measurement], shown=[shown], remarks=[NASTY])
    return to_html(Summary(NASTY, True, evaluation), [NASTY], ["memory"])


class Reader(HTMLParser):
    """Collects tags with their attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_stay_text(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert {"script", "a", "iframe", "link", "object"}.isdisjoint(tag for tag, _ in reader.tags)
    assert all(not name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert NASTY in reader.text
    assert "<script" not in page


def test_nothing_is_fetched(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    sources = [attributes["src"] or "" for _, attributes in reader.tags if "src" in attributes]
    assert len(sources) == 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|url\(|@import", page)


def test_the_legend_explains_a_row(page: str) -> None:
    assert "<dt>memory</dt><dd>memory only, as in PromptAD</dd>" in page


def test_a_histogram_states_what_the_threshold_does(page: str) -> None:
    assert "at the threshold 0.35 1 of 2 good are rejected, 1 of 2 bad are missed" in page
    assert page.count("stroke-dasharray") == 1


PROBE = """<script>
onload = () => {
  const pictures = [...document.images].filter(one => one.complete && one.naturalWidth == 180).length;
  const drawn = ({width, height}) => width + height > 0;
  const bars = [...document.querySelectorAll("rect, line")].filter(one => drawn(one.getBBox()));
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.title = [pictures, bars.length, wide, document.querySelectorAll("b, script").length].join(" ");
};
</script>"""


@pytest.mark.skipif(BROWSER is None or "firefox" in BROWSER, reason="no Chromium is installed")
def test_a_browser_shows_it_and_fetches_nothing(page: str, tmp_path: Path) -> None:
    def browse(content: str) -> str:
        (tmp_path / "page.html").write_text(content, encoding="utf-8")
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
        place = f"--user-data-dir={tmp_path / 'profile'}"
        command = [str(BROWSER), *options, place, "--window-size=1000,800", "--dump-dom", str(tmp_path / "page.html")]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        picture = f"<img src=http://127.0.0.1:{server.getsockname()[1]}/>"
        nasty = page.replace("onerror=", f"{html.escape(picture)} onerror=")
        shown = browse(nasty)
        assert "Worst mistakes" in shown
        assert "<script" not in shown
        # A script of the test reads what the browser laid out; the page's policy would not run it.
        loose = nasty.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
        assert "<title>4 6 false 1</title>" in browse(loose.replace("</body>", f"{PROBE}</body>"))
        with pytest.raises(TimeoutError):
            server.accept()
        browse(nasty.replace("<h1>", f"{picture}<h1>"))  # even if a name became markup, the policy would hold
        with pytest.raises(TimeoutError):
            server.accept()


def test_heat_lies_where_the_scores_are_highest() -> None:
    grid = np.ones((4, 4), np.float32)
    grid[0, 3] = 1.1
    photo = Image.new("RGB", (80, 80), (90, 90, 90))
    painted = np.asarray(draw_heat(photo, grid), np.int16)
    changed = np.abs(painted - 90).max(axis=2)
    assert changed[8, 72] > 60
    assert (changed[40:] == 0).all()
    np.testing.assert_array_equal(draw_heat(photo, np.ones((4, 4), np.float32)), photo)
