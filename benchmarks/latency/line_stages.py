"""Measures the processor time that a frame takes in each stage of a line, one stage after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TypeVar

import av
import msgspec
from goodparts.evaluation.report.report import Findings
from goodparts.runtime import Detector, Engine
from goodparts.runtime.describe import as_record
from goodparts.runtime.line.outputs.rejects import photo_png
from goodparts.runtime.overlay import draw_overlay, to_png
from PIL import Image

Item = TypeVar("Item")
Result = TypeVar("Result")

FRAMES = 100


def time_stages(findings: Findings, folder: Path, recipe: Path, video: Path) -> None:
    """Add a row per stage: decoding, conversion, the stages of the detector, regions, and the pictures of a reject.

    Args:
        findings: Gets the rows, in milliseconds of a processor per frame.
        folder: The engine's folder.
        recipe: The recipe file.
        video: The recording, of which the first FRAMES frames are read.

    Raises:
        EngineError: The engine is damaged.
        RecipeError: The recipe file is damaged, or does not fit the engine.
        BackendError: The inference library is missing or fails.
    """
    detector = Detector(Engine.open(folder, threads=1), recipe)
    engine, view = detector.engine, detector.recipe.header.view
    size = engine.encoder.image_size

    def time_stage(name: str, do: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        start = time.process_time()
        results = [do(item) for item in items]
        milliseconds = (time.process_time() - start) * 1e3 / len(results)
        findings.add(name, milliseconds, "ms of a processor")
        return results

    with av.open(str(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = time_stage("decode H.264", lambda frame: frame, islice(container.decode(video=0), FRAMES))
    pixels = time_stage("to RGB", lambda frame: frame.to_ndarray(format="rgb24"), frames)
    views = time_stage("preprocess", lambda rgb: view.cut(rgb, size, 1), pixels)
    time_stage(f"encode, {engine.precision}, by itself", engine.encode, views)
    inspections = [detector.predict(rgb) for rgb in pixels]
    time_stage("regions and JSON", lambda inspection: msgspec.json.encode(as_record(inspection)), inspections)
    time_stage("map", lambda inspection: inspection.map, inspections)
    rejects = list(zip(pixels, inspections, strict=True))[: FRAMES // 10]
    time_stage("of a reject: its frame as PNG", lambda reject: photo_png(Image.fromarray(reject[0])), rejects)
    time_stage("of a reject: its heat-map as PNG", lambda reject: to_png(draw_overlay(*reject), 1), rejects)
