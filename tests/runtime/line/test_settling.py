"""A running line settles in: it proposes a threshold from its next parts."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime import Engine, Recipe
from goodparts.runtime.describe import BEYOND_SHOWN
from goodparts.runtime.line.context import LineContext
from goodparts.runtime.line.frames import Frame, FrameQueue
from goodparts.runtime.line.inspection_settings import InspectionSettings
from goodparts.runtime.line.results import Result, make_result
from goodparts.runtime.line.settling import Settling
from goodparts.runtime.line.shared_engine import SharedEngine
from goodparts.runtime.line.station import Station
from goodparts.runtime.recipe.settle import FEWEST_PARTS

from tests.conftest import draw_part


@pytest.fixture
def station(engine_folder: Path, recipe_file: Path, tmp_path: Path) -> Station:
    """A station of a source "left" with a recipe that may be changed."""
    own = Path(shutil.copy(recipe_file, tmp_path / "own.safetensors"))
    engine = SharedEngine(lambda: Engine.open(engine_folder), 0.0)
    return Station("left", InspectionSettings(own), FrameQueue("every"), engine, lambda *_: None, LineContext(print))


def inspect(station: Station, count: int) -> list[Result]:
    """Return results of a drawn part, each with a slightly higher score than the one before."""
    pixels = np.asarray(draw_part(1))
    inspection = station.detector.predict(pixels)
    return [
        make_result(
            Frame("left", number, pixels, None, 0.0, 0.0),
            (dataclasses.replace(inspection, raw_score=inspection.raw_score * (1 + number / 100)), "good"),
        )
        for number in range(count)
    ]


def test_a_proposal_is_written_and_used_if_the_settings_ask_for_it(station: Station) -> None:
    said: list[str] = []
    shown: list[str] = []
    settling = Settling(station, said.append, shown.append, takes=True)
    settling.start(FEWEST_PARTS)
    results = inspect(station, FEWEST_PARTS)
    for result in results[:-1]:
        settling.note(result)
    assert settling.progress == (FEWEST_PARTS - 1, FEWEST_PARTS)
    assert not said
    settling.note(results[-1])
    header = Recipe.open(station.settings.recipe).header
    assert header.calibration.source == "unlabelled parts"
    assert header.calibration.image.scores == pytest.approx([result.record["raw_score"] for result in results])
    assert station.detector.thresholds == header.thresholds
    assert said[-1] == "left: the proposed threshold is written"
    assert any("####" in line for line in shown)


def test_parts_are_counted_anew_when_the_recipe_is_replaced(station: Station) -> None:
    settling = Settling(station, print, print)
    settling.start(FEWEST_PARTS)
    first, *others = inspect(station, 3)
    assert first.inspection is not None
    settling.note(dataclasses.replace(first, inspection=dataclasses.replace(first.inspection, recipe="another")))
    for result in others:
        settling.note(result)
    assert settling.progress == (2, FEWEST_PARTS)


def test_pictures_of_the_highest_scores_are_kept(station: Station) -> None:
    settling = Settling(station, print, print)
    settling.start(BEYOND_SHOWN + 5)
    for result in inspect(station, BEYOND_SHOWN + 2):
        settling.note(result)
    kept = [index for index in range(BEYOND_SHOWN + 2) if settling.picture(index) is not None]
    assert kept == list(range(2, BEYOND_SHOWN + 2))


def test_parts_are_gathered_only_on_request_and_only_from_the_station_s_source(station: Station) -> None:
    settling = Settling(station, print, print)
    [result] = inspect(station, 1)
    settling.note(result)
    assert settling.progress == (0, 0)
    settling.start(FEWEST_PARTS)
    settling.note(dataclasses.replace(result, source="right"))
    assert settling.progress == (0, FEWEST_PARTS)
