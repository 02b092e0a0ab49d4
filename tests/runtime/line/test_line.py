"""A line survives the failure of its engine and changes its recipe between two frames."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import time
from pathlib import Path

import av
import msgspec
import pytest
from goodparts.runtime import Detector, Engine, Recipe
from goodparts.runtime.backends.session import Session
from goodparts.runtime.backends.tensors import Outputs
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.view import Box, View, read_mask
from goodparts.runtime.core.yuv import YuvFrame
from goodparts.runtime.line import open_line as opening
from goodparts.runtime.line import shared_engine as batching
from goodparts.runtime.line.open_line import open_line
from goodparts.runtime.line.settings import LineSettings, OutputSettings, SourceSettings
from PIL import Image, ImageOps

from tests.runtime.conftest import FRAMES


def settings(engine: Path, recipe: Path, address: Path, out: Path) -> LineSettings:
    source = SourceSettings(name="left", address=str(address), recipe=str(recipe), threshold=1.5)
    return LineSettings(engine=str(engine), source=(source,), output=OutputSettings(json=str(out)))


def without_end(messages: list[str]) -> list[str]:
    """Return messages without the one at the end of the recording, which may come at any time."""
    end = f"left: finished after {FRAMES} pictures"
    assert messages.count(end) == 1
    return [message for message in messages if message != end]


class LostOnce:
    """A session whose device is lost at the third pass."""

    def __init__(self, session: Session) -> None:
        self._session, self._passes = session, 0
        self.description = session.description

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        self._passes += 1
        if self._passes >= 3:
            raise RuntimeError("device lost\nand a long story")
        return self._session.run(views, conditions)


def test_an_engine_that_fails_is_opened_again_and_no_frame_is_lost(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Engine] = []
    real = opening.open_engine

    def open_engine(told: LineSettings) -> Engine:
        engine = real(told)
        if not opened:
            engine.graphs["plain"] = LostOnce(engine.graphs["plain"])
        opened.append(engine)
        return engine

    monkeypatch.setattr(opening, "open_engine", open_engine)
    said: list[str] = []
    out = tmp_path / "out.jsonl"
    open_line(settings(engine_folder, recipe_file, recording, out), said.append, first_delay=1e-3).run(lambda: None)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(FRAMES))
    assert len(opened) == 2
    assert without_end(said) == [
        "left: inspection failed (RuntimeError: device lost); will keep trying to reopen the engine, first in 0.001 s",
        "left: inspection works again",
    ]


def test_a_recipe_replaced_on_disk_is_used_and_a_broken_one_is_refused(
    engine_folder: Path, recipe: Recipe, recipe_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "ring.safetensors"
    shutil.copy(recipe_file, path)
    (tmp_path / "in").mkdir()
    said: list[str] = []
    line = open_line(settings(engine_folder, path, tmp_path / "in", tmp_path / "out.jsonl"), said.append)
    station = line.pipelines[0].station
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
    assert station.detector.thresholds == changed.header.thresholds.scaled_by(1.5)  # the settings' threshold
    assert said[1:] == [f"left: now inspects ring with recipe {changed.digest[:12]} from ring.safetensors"]
    path.rename(tmp_path / "elsewhere")
    station.refresh()
    station.refresh()
    (tmp_path / "elsewhere").rename(path)
    station.refresh()
    station.refresh()
    assert station.detector.recipe.digest == changed.digest
    assert said[2:] == [
        f"left: the recipe's file {path} is missing: the line goes on with the recipe that it has read",
        f"left: the recipe's file {path} is there again",
    ]
    line.outlets[0].start()
    line.outlets[0].close()
    line.outlets[0].join(30)


@pytest.mark.parametrize("inside", ["in", "in/rejects", "link"])
def test_rejects_in_a_watched_folder_are_refused(
    engine_folder: Path, recipe_file: Path, tmp_path: Path, inside: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    told = settings(engine_folder, recipe_file, tmp_path / "in", tmp_path / "out.jsonl")
    output = msgspec.structs.replace(told.output, rejects=str(tmp_path / inside))
    with pytest.raises(SettingsError, match=f"{inside} lies in .*in, which source 'left' watches"):
        open_line(msgspec.structs.replace(told, output=output), print)
    open_line(msgspec.structs.replace(told, output=OutputSettings(rejects=str(tmp_path / "inside"))), print)


def test_smoothing_over_the_pictures_of_a_folder_gets_a_warning(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    (tmp_path / "in").mkdir()
    for address in (recording, tmp_path / "in"):
        told = settings(engine_folder, recipe_file, address, tmp_path / "out.jsonl")
        source = msgspec.structs.replace(told.source[0], smoothing=(3, 5))
        open_line(msgspec.structs.replace(told, source=(source,), output=OutputSettings()), said.append)
    (message,) = said
    assert message.startswith("left: smoothing = [3, 5] decides from 5 pictures together; if each picture in ")


class Slow:
    """A session with slow passes, so that others wait. It notes the number of views of each pass."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.sizes: list[int] = []
        self.description = session.description

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        self.sizes.append(len(views))
        time.sleep(0.02)
        return self._session.run(views, conditions)


@pytest.mark.parametrize(("batch_ms", "together"), [(1000.0, True), (0.0, False)])
def test_sources_share_passes_up_to_batch_ms(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    batch_ms: float, together: bool,
) -> None:  # fmt: skip
    slow: list[Slow] = []
    real = opening.open_engine

    def open_engine(told: LineSettings) -> Engine:
        engine = real(told)
        slow.append(Slow(engine.graphs["plain"]))
        engine.graphs["plain"] = slow[-1]
        return engine

    monkeypatch.setattr(opening, "open_engine", open_engine)
    monkeypatch.setattr(batching, "sharing_pays", lambda *_: True)
    told = settings(engine_folder, recipe_file, recording, tmp_path / "out.jsonl")
    sources = tuple(msgspec.structs.replace(told.source[0], name=name) for name in ("a", "b", "c"))
    open_line(msgspec.structs.replace(told, source=sources, batch_ms=batch_ms), print).run(lambda: None)
    assert (max(slow[0].sizes) > 1) == together
    assert sum(slow[0].sizes) == len(sources) * FRAMES


def test_a_hook_is_called_with_every_record_in_order_and_again_when_it_fails(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_plc.py").write_text(
        "calls, done = [], []\n"
        "def eject(record):\n"
        "    calls.append(record['frame'])\n"
        "    if record['frame'] == 3 and calls.count(3) == 1:\n"
        "        raise OSError('the bus is busy')\n"
        "    done.append((record['frame'], record['decision']))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    said: list[str] = []
    told = settings(engine_folder, recipe_file, recording, tmp_path / "out.jsonl")
    output = msgspec.structs.replace(told.output, hook="a_plc:eject")
    open_line(msgspec.structs.replace(told, output=output), said.append, first_delay=1e-3).run(lambda: None)
    plc = importlib.import_module("a_plc")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert plc.done == [(record["frame"], record["decision"]) for record in records]
    assert plc.calls.count(3) == 2
    assert without_end(said)[0] == "hook: OSError: the bus is busy; will keep trying, first in 0.001 s"


def test_for_a_gpu_a_line_gives_frames_in_the_yuv_of_the_video(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    predict = Detector.predict
    monkeypatch.setattr(opening, "open_engine", lambda _: Engine.open(engine_folder))  # there is no GPU here
    monkeypatch.setattr(Detector, "predict", lambda self, picture: seen.append(picture) or predict(self, picture))
    for backend, takes_yuv in (("auto", True), ("tensorrt", False), ("tensorrt", True)):
        monkeypatch.setattr(Detector, "takes_yuv", takes_yuv)
        told = settings(engine_folder, recipe_file, recording, tmp_path / "out.jsonl")
        open_line(msgspec.structs.replace(told, backend=backend), print).run(lambda: None)
        is_yuv = [isinstance(picture, YuvFrame) for picture in seen]
        assert is_yuv == [backend == "tensorrt" and takes_yuv] * FRAMES
        seen.clear()


def test_a_source_s_own_view_replaces_the_recipe_s(
    engine_folder: Path, recipe: Recipe, recipe_file: Path, recording: Path, tmp_path: Path
) -> None:
    roi, mask = Box(40, 0, 240, 240), tmp_path / "look.png"
    ImageOps.expand(Image.new("L", (160, 240), 255), (80, 0)).save(mask)
    told = settings(engine_folder, recipe_file, recording, tmp_path / "out.jsonl")
    source = msgspec.structs.replace(told.source[0], roi=msgspec.structs.astuple(roi), mask=str(mask))
    open_line(msgspec.structs.replace(told, source=(source,)), print).run(lambda: None)
    record = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    with av.open(str(recording)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    header = msgspec.structs.replace(recipe.header, view=View(roi=roi, mask=read_mask(mask)))
    elsewhere = Detector(Engine.open(engine_folder), dataclasses.replace(recipe, header=header))
    assert record["raw_score"] == pytest.approx(elsewhere.predict(first).raw_score, rel=1e-4)
    assert record["recipe"] == Recipe.open(recipe_file).digest  # not the changed recipe's
