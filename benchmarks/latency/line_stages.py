"""Where a frame's time goes on a line: processor time of each of its pieces, one after the other."""

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
from goodparts.runtime.line.outputs.rejects import to_png
from goodparts.runtime.overlay import draw_overlay
from PIL import Image

T = TypeVar("T")
U = TypeVar("U")

FRAMES = 100


def time_pieces(findings: Findings, folder: Path, recipe: Path, video: Path) -> None:
    """Add a row per piece: decoding, conversion, the detector's stages, regions; and of a reject its pictures."""
    detector = Detector(Engine.open(folder, threads=1), recipe)
    engine, view = detector.engine, detector.recipe.header.view
    size = engine.encoder.image_size

    def piece(name: str, do: Callable[[T], U], items: Iterable[T]) -> list[U]:
        start = time.process_time()
        done = [do(item) for item in items]
        findings.add(name, (time.process_time() - start) * 1e3 / len(done), "ms of a processor")
        return done

    with av.open(str(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = piece("decode H.264", lambda frame: frame, islice(container.decode(video=0), FRAMES))
    pixels = piece("to RGB", lambda frame: frame.to_ndarray(format="rgb24"), frames)
    views = piece("preprocess", lambda rgb: view.cut(rgb, size, 1), pixels)
    piece(f"encode, {engine.precision}, alone", engine.encode, views)
    found = [detector.predict(rgb) for rgb in pixels]
    piece("regions and JSON", lambda each: msgspec.json.encode(as_record(each)), found)
    piece("map", lambda each: each.map, found)
    rejects = list(zip(pixels, found, strict=True))[: FRAMES // 10]
    piece("of a reject: its frame as PNG", lambda each: to_png(Image.fromarray(each[0])), rejects)
    piece("of a reject: its heat-map as PNG", lambda each: to_png(draw_overlay(*each)), rejects)
