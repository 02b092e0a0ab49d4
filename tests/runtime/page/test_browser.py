"""The page in a browser, used as an operator uses it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest
from goodparts.runtime import Recipe
from goodparts.runtime.core.scene import SceneChange
from goodparts.runtime.inspection import format_score
from goodparts.runtime.line.outputs.rejects import Rejects
from goodparts.runtime.line.results import Result
from goodparts.runtime.line.scene_watch import DRIFT_FRAMES
from goodparts.runtime.line.status import status_table

from tests.runtime.line.test_scene_watch import LEVEL, inspected
from tests.runtime.page.conftest import TOKEN, OpenLine, scored

pytest.importorskip("websockets")
from tests.runtime.page.browser import CHROMIUM, Browser, nothing_odd

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

NASTY = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"
STREAM = "rtsp://operator:hunter2@camera.invalid/<b>?token=hunter3"


def test_an_operator_looks_tries_a_threshold_applies_it_and_takes_it_back(
    browser: Browser, open_line: OpenLine, recipe: Recipe, results: dict[str, Result], tmp_path: Path
) -> None:
    own = tmp_path / "own.safetensors"
    recipe.save(own)
    saved = Rejects(tmp_path / "rejects", 10**9)
    saved.send(results["reject"])
    saved.close()
    client = open_line({"left": {"recipe": str(own)}}, rejects=str(tmp_path / "rejects"))
    client.line.pipelines[0].capture.up = True
    for number, kind in enumerate(["good"] * 30 + ["reject"]):
        client.page.note(dataclasses.replace(results[kind], record=results[kind].record | {"frame": number}))
    browser.open(client.page.url)
    assert browser.wait("document.querySelector('.picture img').naturalWidth") == 320
    assert browser.run("document.querySelector('.verdict').innerText.replace(/\\s+/g, ' ')").startswith("✕ REJECT")
    # Large enough to read from two metres.
    assert browser.run("parseFloat(getComputedStyle(document.querySelector('.word')).fontSize)") >= 48
    drawn = "document.querySelector('canvas').getContext('2d').getImageData(0, 0, 400, 130).data"
    assert browser.run(f"{drawn}.some((value) => value > 0)")

    columns = browser.run("[...document.querySelectorAll('#health th')].map((one) => one.innerText).join('  ')")
    assert columns == "  ".join(status_table(client.line.status())[0].split()).replace("p50/p99  ms:  ", "p50/p99 ms: ")

    station = client.line.pipelines[0].station
    before, factor = station.detector.thresholds.image, results["good"].record["score"] / 2
    wanted = before * factor
    browser.run(
        f"""(() => {{ const exact = document.querySelector(".exact"); exact.focus(); exact.value = {factor};
        exact.dispatchEvent(new Event("input")) }})()"""
    )
    assert "31 of the last 31 frames would be rejected" in browser.wait(
        "document.querySelector('.effect b').parentNode.innerText"
    )
    assert station.detector.thresholds.image == before
    browser.run("document.querySelector('.apply').click()")
    assert "Undo: threshold 1 → " in browser.wait("document.querySelector('.undo:not([hidden])').innerText")
    assert station.detector.thresholds.image == wanted
    browser.run("document.querySelector('.keep').click()")
    assert "own.safetensors" in browser.wait("document.querySelector('#confirm[open] p').innerText")
    browser.run("document.querySelector('#confirm button').click()")
    assert browser.wait("document.querySelector('.undo').innerText.includes('written into')")
    assert Recipe.open(own).header.thresholds.image == wanted
    for _ in range(2):
        said = browser.run("document.querySelector('.undo').innerText")
        browser.run("document.querySelector('.undo').click()")
        browser.wait(f"document.querySelector('.undo').innerText !== {msgspec.json.encode(said).decode()}")
    assert station.detector.thresholds.image == before
    assert own.read_bytes() == recipe.to_bytes()

    browser.wait("document.querySelector('#rejects img').naturalWidth")
    browser.run("document.querySelector('#rejects button').click()")
    assert browser.wait("[...document.querySelectorAll('.pair img')].every((one) => one.naturalWidth) ? 2 : 0") == 2
    browser.run("document.querySelector('#viewer .consider').click()")
    assert "Score" in browser.wait(
        "document.querySelector('.accept:not([hidden])') && document.querySelector('#viewer .effect').innerText"
    )
    browser.run("document.querySelector('#viewer .accept').click()")
    assert browser.wait("document.querySelector('.undo:not([hidden])').innerText").endswith("accepted as good")
    assert len(Recipe.open(own).header.shots) == len(recipe.header.shots) + 1
    nothing_odd(browser, client.port)


def test_a_part_to_review_looks_like_one_and_is_listed_by_itself(
    browser: Browser, open_line: OpenLine, results: dict[str, Result], tmp_path: Path
) -> None:
    review = dataclasses.replace(results["reject"], decision="review")
    saved = Rejects(tmp_path / "rejects", 10**9)
    for result in (results["reject"], review):
        saved.send(result)
    saved.close()
    client = open_line(rejects=str(tmp_path / "rejects"))
    client.line.pipelines[0].capture.up = True
    client.page.note(review)
    browser.open(client.page.url)
    assert browser.wait("document.querySelector('article.review .word').innerText") == "REVIEW"
    browser.wait("document.querySelectorAll('#rejects button').length === 2")
    assert browser.run("document.querySelectorAll('#rejects .mark').length") == 1
    chosen = "document.querySelector('#filter')"
    browser.run(f"{chosen}.value = 'reject'; {chosen}.dispatchEvent(new Event('change'))")
    browser.wait("document.querySelectorAll('#rejects button').length === 1")
    assert browser.run("document.querySelectorAll('#rejects .mark').length") == 0
    nothing_odd(browser, client.port)


def test_an_operator_settles_in_looks_at_the_histogram_and_writes_what_is_proposed(
    browser: Browser, open_line: OpenLine, recipe: Recipe, results: dict[str, Result], tmp_path: Path
) -> None:
    own = tmp_path / "own.safetensors"
    recipe.save(own)
    client = open_line({"left": {"recipe": str(own)}})
    settling = client.line.pipelines[0].settling
    browser.open(client.page.url)
    browser.wait("document.querySelector('.parts').value")
    browser.run("document.querySelector('.parts').value = 20")
    browser.run("document.querySelector('.settling button').click()")
    browser.wait("document.querySelector('.gathered').innerText === '0 of 20 parts so far.'")
    for number in range(20):
        settling.note(scored(results["good"], number, 1 + number / 100))
    proposal = settling.proposal
    assert proposal is not None
    gathered = browser.wait("document.querySelector('.beyond li') && document.querySelector('.gathered').innerText")
    assert "Proposed from 20 parts: reject from " in gathered
    assert " 5 % of good parts are rejected" in gathered
    assert browser.wait("document.querySelector('.beyond img').naturalWidth") == 320
    drawn = "document.querySelector('.histogram').getContext('2d').getImageData(0, 0, 400, 130).data"
    assert browser.run(f"{drawn}.some((value) => value > 0)")
    shown = [format_score(score / proposal.today) for score in proposal.histogram()[0][[0, -1]].tolist()]
    levels = [format_score(score / proposal.today) for score in sorted((proposal.today, proposal.threshold))]
    assert browser.run("document.querySelector('.histogram').ariaLabel") == (
        f"histogram of 20 parts' scores, {' to '.join(shown)}, with the thresholds {' and '.join(levels)}"
    )
    worst = float(proposal.scores.max()) / proposal.today
    assert browser.run("document.querySelector('.beyond li').innerText").startswith(f"{format_score(worst)} ")
    browser.run("document.querySelector('.take').click()")
    assert "own.safetensors" in browser.wait("document.querySelector('#confirm[open] p').innerText")
    browser.run("document.querySelector('#confirm button').click()")
    assert browser.wait("document.querySelector('.undo').innerText.includes('written into')")
    assert Recipe.open(own).header.thresholds.image == proposal.threshold
    nothing_odd(browser, client.port)


def test_hostile_names_stay_text(
    browser: Browser, open_line: OpenLine, recipe: Recipe, results: dict[str, Result], tmp_path: Path
) -> None:
    folder = tmp_path / NASTY.replace("/", "∕")
    folder.mkdir()
    header = msgspec.structs.replace(recipe.header, product=NASTY)
    dataclasses.replace(recipe, header=header).save(folder / "<i>.safetensors")
    name = "20260101T000000000Z_left_1"
    rejects = tmp_path / "rejects"
    source = {"recipe": str(folder / "<i>.safetensors")}
    client = open_line({"left": source | {"address": str(folder)}, "right": source | {"address": STREAM}},
                       rejects=str(rejects))  # fmt: skip
    told = {"source": NASTY, "time": NASTY, "frame": 1, "score": 1, "raw_score": 1}
    (rejects / f"{name}.json").write_bytes(msgspec.json.encode(told))
    record = results["error"].record | {"error": NASTY}
    client.page.note(dataclasses.replace(results["error"], record=record))
    client.line.pipelines[0].capture.up = True
    client.line.messages.report(f"left: {NASTY} {STREAM}")
    browser.open(client.page.url)
    text = browser.wait("document.querySelector('#rejects span') && document.body.innerText")
    assert text.count(NASTY) >= 4  # product twice, error, reject, message
    assert "NO VERDICT" in text
    assert "rtsp://camera.invalid/<b>" in text
    assert "hunter" not in browser.run("document.documentElement.outerHTML")
    assert (
        browser.run("document.querySelectorAll('main script, main b, main i, main img:not([src^=rejects])').length")
        == 0
    )
    nothing_odd(browser, client.port)


def test_a_token_opens_it_and_does_not_stay_in_the_address(
    browser: Browser, open_line: OpenLine, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    client = open_line(page_token=str(tmp_path / "token"))
    browser.open(client.page.url)
    browser.wait("!document.querySelector('#login').hidden")
    assert browser.run("document.querySelector('main').hidden")
    browser.run("document.querySelector('#token').value = 'wrong'; document.querySelector('#login button').click()")
    assert browser.wait("document.querySelector('#refused').innerText") == "that is not the token"
    browser.call("Page.navigate", url="about:blank")
    browser.open(f"{client.page.url}#{TOKEN}")
    browser.wait("!document.querySelector('main').hidden && document.querySelector('article') !== null")
    assert browser.run("location.href + document.cookie") == client.page.url
    assert all(TOKEN not in one["url"] for one in browser.call("Page.getNavigationHistory")["entries"])
    assert all(TOKEN not in one["request"]["url"] for one in browser.told("Network.requestWillBeSent"))
    nothing_odd(browser, client.port)


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_the_page_fits_its_window_and_warns_when_the_line_has_ended(
    browser: Browser, open_line: OpenLine, results: dict[str, Result], width: int, height: int
) -> None:
    client = open_line({"left": {}, "right": {}})
    client.line.pipelines[0].capture.up = True
    client.page.note(results["reject"])
    browser.open(client.page.url, width, height)
    browser.wait("document.querySelector('.reject img').naturalWidth")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    fits = "[...document.querySelectorAll('.verdict')].every((one) => one.scrollWidth <= one.clientWidth)"
    assert browser.run(fits)
    client.page.note(dataclasses.replace(results["reject"], decision="review"))
    browser.wait("document.querySelector('.review') !== null")
    assert browser.run(fits)
    assert browser.run("document.querySelector('article:nth-child(2) .word').innerText") == "WAITING"
    client.page.close()
    assert browser.wait("document.querySelector('#alarm').innerText").startswith("No answer from the line since")
    assert browser.run("getComputedStyle(document.querySelector('main')).filter") == "grayscale(1)"


def test_a_changed_scene_and_drift_are_a_banner_while_verdicts_go_on(
    browser: Browser, open_line: OpenLine, results: dict[str, Result]
) -> None:
    client = open_line()
    watch = client.line.pipelines[0].station.scene_watch
    client.page.note(results["good"])
    browser.open(client.page.url)
    browser.wait("document.querySelector('.word').textContent")
    assert browser.run("document.querySelector('.scene').hidden")
    for scene in [None] * DRIFT_FRAMES + [SceneChange("darker", "it is darker: check the light")] * 3:
        watch.note(inspected(1.9, scene), LEVEL)
    assert browser.wait("!document.querySelector('.scene').hidden && document.querySelector('.scene').innerText") == (
        f"Scene changed: it is darker: check the light. Scores drift: {watch.drift}."
    )
    for _ in range(5):
        watch.note(inspected(1.0, recipe="b"), LEVEL)
    assert browser.wait("document.querySelector('.scene').hidden")
    nothing_odd(browser, client.port)
