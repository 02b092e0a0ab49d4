"""A recipe is replaced between two frames of a running line, and never by one that is refused."""

from __future__ import annotations

import itertools
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
from goodparts.runtime import Detector, Engine, Inspection, Recipe, Signer, Trust
from goodparts.runtime.core.files import write_atomic
from goodparts.runtime.line.context import LineContext
from goodparts.runtime.line.frames import Frame, FrameQueue
from goodparts.runtime.line.inspection_settings import InspectionSettings
from goodparts.runtime.line.results import Outcome
from goodparts.runtime.line.shared_engine import SharedEngine
from goodparts.runtime.line.station import Station
from goodparts.runtime.recipe.accept import Photo, preview
from goodparts.runtime.recipe.signing import generate

from tests.conftest import draw_part

PICTURES = [np.asarray(draw_part(seed, defect=seed == 10)) for seed in (10, 11)]
EACH = 8
"""Number of frames that are inspected between two changes."""


def test_every_verdict_is_that_of_a_whole_trusted_recipe_and_no_frame_is_lost(
    engine_folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    key, path = tmp_path / "key", tmp_path / "ring.safetensors"
    trust, sign = Trust.read(generate(key)), Signer.read(key)
    generate(tmp_path / "stranger")
    engine = Engine.open(engine_folder)
    accepted = preview(recipe, engine, [Photo.of_pixels("10.png", PICTURES[0])]).after
    old, new = recipe.to_bytes(sign), accepted.to_bytes(sign)
    refused = {
        "is damaged": new[:-1],
        "is not signed": accepted.to_bytes(),
        "made its signature": accepted.to_bytes(Signer.read(tmp_path / "stranger")),
        "is not a whole recipe": b"",
    }

    path.write_bytes(old)
    messages: list[str] = []
    results: list[tuple[int, Inspection]] = []

    def emit(frame: Frame, outcome: Outcome | None, _: float) -> None:
        assert isinstance(outcome, tuple)
        results.append((frame.number, outcome[0]))

    queue, context = FrameQueue("every"), LineContext(messages.append)
    shared_engine = SharedEngine(lambda: engine, 0.05)
    station = Station("left", InspectionSettings(path, trust=trust), queue, shared_engine, emit, context)
    put = threading.Thread(target=partial(feed, queue, context.stop), daemon=True)
    station.start()
    put.start()
    for data in (*refused.values(), new, refused["is damaged"], old, new):
        wait_for(results, len(results) + EACH)
        write_atomic(path, data)
        station.refresh()
    wait_for(results, len(results) + EACH)
    context.stop.set()
    put.join(30)
    station.join(30)

    assert [number for number, _ in results] == list(range(len(results)))
    expected = {}
    for data in (old, new):
        opened = Recipe.from_bytes(data)
        seen = Detector(engine, opened).predict_batch(PICTURES)
        expected[opened.digest] = [(one.verdict, one.raw_score, one.raw_threshold) for one in seen]
    first, second = expected
    assert [verdict for verdict, *_ in expected[first]] == ["reject", "good"]
    assert [verdict for verdict, *_ in expected[second]] == ["good", "good"]
    for number, inspection in results:
        verdict, score, threshold = expected[inspection.recipe][number % 2]
        assert (inspection.verdict, inspection.raw_threshold) == (verdict, threshold)
        np.testing.assert_allclose(inspection.raw_score, score, rtol=1e-3)
    assert [digest for digest, _ in itertools.groupby(one.recipe for _, one in results)] == [
        first, second, first, second
    ]  # fmt: skip
    assert len(messages) == 8
    for line, reason in zip(messages[:4], refused, strict=True):
        assert "the changed recipe is refused, the old one stays: " in line
        assert reason in line
        assert "\n" not in line


def feed(queue: FrameQueue, stop: threading.Event) -> None:
    for number in itertools.count():
        if stop.is_set():
            break
        queue.put(Frame("left", number, PICTURES[number % 2], None, time.time(), time.perf_counter()))
    queue.close()


def wait_for(results: list[tuple[int, Inspection]], count: int) -> None:
    deadline = time.monotonic() + 60
    while len(results) < count:
        assert time.monotonic() < deadline
        time.sleep(1e-3)
