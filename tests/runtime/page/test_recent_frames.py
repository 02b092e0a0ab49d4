"""Pictures are drawn only on request; picture and verdict are of the same frame; a threshold is tried before it is
applied."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from goodparts.runtime.line.results import Result
from goodparts.runtime.line.smoothing import Smoothing
from goodparts.runtime.page import recent_frames
from goodparts.runtime.page.recent_frames import Point, Preview, RecentFrames
from PIL import Image

from tests.runtime.page.conftest import Client, OpenLine

Results = dict[str, Result]


def numbered(result: Result, number: int, **changed: object) -> Result:
    return dataclasses.replace(result, record=result.record | {"frame": number} | changed)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Image.Image]:
    """The pictures that were encoded during the test."""
    pictures: list[Image.Image] = []
    real = recent_frames.to_jpeg
    monkeypatch.setattr(recent_frames, "to_jpeg", lambda picture: (pictures.append(picture), real(picture))[1])
    return pictures


def test_nothing_is_drawn_while_nobody_watches_and_once_for_all_who_do(
    open_line: OpenLine, results: Results, encoded: list[Image.Image]
) -> None:
    client = open_line()
    for number in range(1000):
        client.page.note(numbered(results["reject"], number))
    assert encoded == []
    shown = client.get("/state").json["sources"][0]["shown"]
    assert encoded == []  # the state contains only the frame's number
    path = f"/frame/left/{shown['frame']}"
    first, second = (client.get(f"{path}/heat.jpg") for _ in range(2))
    assert first.body == second.body
    assert len(encoded) == 1
    assert Image.open(io.BytesIO(first.body)).size == (320, 240)
    plain = client.get(f"{path}/plain.jpg").body
    assert np.abs(np.asarray(Image.open(io.BytesIO(plain))) - results["reject"].pixels.astype(float)).mean() < 8
    assert len(encoded) == 2
    for number in range(1000, 2000):
        client.page.note(numbered(results["good"], number))
    assert len(encoded) == 2


def test_the_picture_is_of_the_frame_whose_verdict_is_shown(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_frames, "PERIOD", 0.0)
    recent = RecentFrames((1, 1))
    assert (recent.show(), recent.picture(0, True)) == (None, None)
    recent.note(numbered(results["good"], 7))
    assert recent.picture(7, True) is None  # `show` has not returned it
    shown = recent.show()
    assert shown is not None
    recent.note(numbered(results["reject"], 8))
    good = recent.picture(7, True)
    recent.show()
    assert recent.picture(8, True) not in (None, good)
    assert recent.picture(7, True) == good
    for number in range(9, 12):
        recent.note(numbered(results["good"], number))
        recent.show()
    recent.note(numbered(results["error"], 12))
    last = recent.show()
    assert last is not None
    assert last.decision == "error"
    assert recent.picture(12, True) is None


def test_a_reject_between_two_looks_is_not_missed(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(recent_frames.time, "monotonic", lambda: now[0])
    recent = RecentFrames((1, 1))

    def look() -> int:
        shown = recent.show()
        assert shown is not None
        return int(shown.record["frame"])

    for number, kind in enumerate(("good", "reject", "good", "good")):
        recent.note(numbered(results[kind], number))
    assert look() == 1
    now[0] += recent_frames.PERIOD / 2
    assert look() == 1  # another browser is shown the same frame
    now[0] += recent_frames.PERIOD
    assert look() == 3
    recent.note(numbered(results["reject"], 4))
    recent.note(numbered(results["good"], 5))
    now[0] += 2 * recent_frames.FRESH  # nobody looked for a long time, so the reject is too old to be shown
    assert look() == 5
    assert recent.ages() == (2 * recent_frames.FRESH, 2 * recent_frames.FRESH)


@pytest.mark.parametrize("smoothing", [(1, 1), (2, 3), (1, 4), (5, 5)])
def test_a_preview_decides_as_the_station_would(results: Results, smoothing: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).random(200)
    recent = RecentFrames(smoothing)
    recent.note(numbered(results["reject"], 0, raw_score=9.0, recipe="older"))  # another recipe: does not count
    for number, score in enumerate(scores):
        recent.note(numbered(results["good"], number, raw_score=float(score)))
    decider = Smoothing(*smoothing)
    expected = sum(decider.decide("reject" if score >= 0.6 else "good") == "reject" for score in scores)
    assert 0 < expected < 200
    assert recent.preview(0.6) == Preview(frames=200, rejected=0, would=expected)


def test_scores_follow_the_threshold_in_use_and_those_of_another_recipe_stay() -> None:
    point = Point(number=1, score=0.5, raw_score=0.2, decision="good", recipe="now")
    assert (point.score_by("now", 0.1), point.score_by("other", 0.1)) == (2.0, 0.5)


def test_a_preview_of_nothing_is_nothing() -> None:
    assert RecentFrames((1, 1)).preview(0.5) == Preview(0, 0, 0)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/preview?source=left&threshold=0.5", 200),
        ("/preview?source=left&threshold=x", 400),
        ("/preview?source=left", 400),
        ("/preview?source=right&threshold=0.5", 404),
        ("/preview?" + "a=b&" * 50, 400),
        ("/frame/left/0/heat.jpg", 404),
        ("/frame/left/-1/heat.jpg", 404),
        ("/frame/left/99999999999999999999/heat.jpg", 404),
        ("/frame/../state", 404),
        ("/frame/%2e%2e/0/heat.jpg", 404),
    ],
)
def test_status_of_wrong_requests(client: Client, path: str, status: int) -> None:
    assert client.get(path).status == status
