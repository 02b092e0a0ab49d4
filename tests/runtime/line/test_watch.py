"""The line survives its engine, and changes its product between two frames."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
from goodparts.runtime import Engine, Recipe
from goodparts.runtime.backends import Session
from goodparts.runtime.line import watch
from goodparts.runtime.line.settings import LineSettings, OutputSettings, SourceSettings
from goodparts.runtime.line.watch import Line
from goodparts.runtime.preprocess import Array8
from goodparts.runtime.scoring import Floats

from tests.runtime.conftest import FRAMES


def settings(engine: Path, recipe: Path, address: Path, out: Path) -> LineSettings:
    source = SourceSettings(name="left", address=str(address), recipe=str(recipe), threshold=0.5)
    return LineSettings(engine=str(engine), source=(source,), output=OutputSettings(json=str(out)))


class LostOnce:
    """A session whose device goes away at the third pass."""

    def __init__(self, session: Session) -> None:
        self._session, self._passes = session, 0
        self.description = session.description

    def run(self, views: Array8) -> list[Floats]:
        self._passes += 1
        if self._passes >= 3:
            raise RuntimeError("device lost\nand a long story")
        return self._session.run(views)


def test_an_engine_that_fails_is_opened_again_and_no_frame_is_lost(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Engine] = []
    real = watch._open_engine

    def open_engine(told: LineSettings) -> Engine:
        engine = real(told)
        if not opened:
            engine.session = LostOnce(engine.session)
        opened.append(engine)
        return engine

    monkeypatch.setattr(watch, "_open_engine", open_engine)
    said: list[str] = []
    out = tmp_path / "out.jsonl"
    Line(settings(engine_folder, recipe_file, recording, out), said.append, first_delay=1e-3).run(lambda: None)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(FRAMES))
    assert len(opened) == 2
    assert said == [
        "left: inspection failed (RuntimeError: device lost); the engine is opened again from 0.001 s on",
        "left: inspected again",
    ]


def test_a_recipe_replaced_on_disk_is_taken_and_a_broken_one_refused(
    engine_folder: Path, recipe: Recipe, recipe_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "ring.safetensors"
    shutil.copy(recipe_file, path)
    (tmp_path / "in").mkdir()
    said: list[str] = []
    line = Line(settings(engine_folder, path, tmp_path / "in", tmp_path / "out.jsonl"), said.append)
    (station,) = line.stations
    before = station.detector
    station.refresh()
    assert station.detector is before
    path.write_bytes(recipe_file.read_bytes()[:-1])
    station.refresh()
    assert station.detector is before
    assert "the changed recipe is refused, the old one stays: " in said[0]
    changed = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, pixel=0.25))
    changed.save(path)
    station.refresh()
    assert station.detector.recipe.digest == changed.digest
    assert (station.detector.thresholds.image, station.detector.thresholds.pixel) == (0.5, 0.25)
    assert said[1:] == [f"left: now inspects with recipe {changed.digest[:12]}"]
    line.outlets[0].start()
    line.outlets[0].finish(30)
