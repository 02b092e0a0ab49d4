"""`goodparts watch` as on a real line: four H.264 recordings replace cameras, with one engine, observed from outside.

The benchmark answers two questions. Does the line keep up? The recordings of 640×480 pixels play at 30 frames per
second each, and the newest frame replaces older frames. Dropped frames are counted, and the latency of verdicts is
measured. Does the line leak memory? Small recordings are read as fast as possible, every frame is inspected, and the
resident memory of the process is read over 200 000 frames.

The inference library gets one thread unless the options name another number. The small backbone gains little from a
second thread, whose spinning slows down the core that decodes. The line is a process of its own, without torch.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from goodparts.evaluation.report.report import Findings
from goodparts.evaluation.report.tables import Table
from goodparts.runtime import Detector, Engine
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.line.meter import STAGES
from goodparts.runtime.recipe.header import Thresholds
from goodparts.trainer.clip.names import DEFAULT_NAME

from .. import options
from ..synthetic import make_recipe
from .engines import open_or_make_engine
from .line_process import SOURCES, LineObservation, run_line
from .line_stages import time_stages
from .recordings import FPS, LOOP, read_frames, record

log = logging.getLogger(__name__)

SIZE, SMALL_SIZE = (640, 480), (160, 120)
SECONDS = 60
DEFAULT_FRAMES = 200_000
POINTS = 20
"""The number of points on the curve of the process's memory."""
GROWTH = 8.0
"""MiB by which the second half of the curve may rise above the first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_backbone(parser)
    options.add_precisions(parser)
    options.add_threads(parser, "threads of the inference library (default: 1)")
    parser.add_argument(
        "--frames",
        type=options.positive_integer,
        default=DEFAULT_FRAMES,
        metavar="N",
        help="number of frames over which the memory is measured (default: %(default)s)",
    )


def measure(*, backbone: str, precisions: Sequence[Precision] | None, threads: int | None, frames: int) -> Findings:
    if not Path("/proc/self/status").is_file():
        raise SettingsError("bench line reads the process' memory from /proc: it needs Linux")
    findings = Findings()
    threads = threads or 1
    paced_frames = min(SECONDS * FPS, max(FPS, frames // SOURCES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = record(folder / "large.mp4", SIZE, paced_frames)
        small_video = record(folder / "small.mp4", SMALL_SIZE, frames // SOURCES)
        for backbone_name in dict.fromkeys((DEFAULT_NAME, backbone)):
            log.info("building %s", backbone_name)
            engine = folder / backbone_name
            spec = open_or_make_engine(engine, backbone_name, precisions)
            for precision in precisions or spec.graph("plain").precisions:
                recipes = write_recipes(engine, precision, video)
                log.info("%s %s: four cameras for %d s", backbone_name, precision, paced_frames / FPS)
                observation = run_line(engine, precision, threads, recipes, video, "newest")
                report_paced(findings, f"{backbone_name} {precision}", observation)
            if backbone_name == DEFAULT_NAME:
                time_stages(findings, engine, write_recipes(engine, "fp32", video)[0], video)
                fastest: Precision = "bf16" if "bf16" in spec.graph("plain").precisions else "fp32"
                log.info("%s %s: %d frames", backbone_name, fastest, frames)
                recipes = write_recipes(engine, fastest, small_video)
                observation = run_line(engine, fastest, threads, recipes, small_video, "every", frames // POINTS)
                report_memory(findings, fastest, observation, frames // SOURCES * SOURCES)
    return findings


def report_paced(findings: Findings, name: str, observation: LineObservation) -> None:
    """Add rows that show whether a line keeps up with its cameras.

    Args:
        findings: Gets the rows and the aim.
        name: The backbone and the precision.
        observation: What was observed of the line.
    """
    offered = observation.inspected + observation.dropped
    rate = observation.inspected / observation.seconds
    findings.add(
        f"{name}, inspected", rate, "frames/s", f"offered by {SOURCES} cameras", offered / observation.seconds, True
    )
    findings.add(f"{name}, dropped for a newer frame", 100.0 * observation.dropped / max(1, offered), "%")
    findings.add(f"{name}, processor time", observation.cpu * 1e3 / max(1, observation.inspected), "ms/frame")
    for stage in STAGES:
        findings.add(f"{name}, p99 {stage}", observation.p99[stage], "ms")
    findings.aim(f"{name}, inspected", rate, 0.99 * SOURCES * FPS, "frames/s", at_least=True)


def report_memory(findings: Findings, precision: str, observation: LineObservation, frames: int) -> None:
    """Add rows that show how a line's memory grows and whether the line inspected all frames.

    Args:
        findings: Gets the rows, the curve as a table, and the aims.
        precision: The precision of the engine's graph.
        observation: What was observed of the line, with at least three points of the memory's curve.
        frames: The number of frames that all sources delivered.
    """
    cells = [(str(count), f"{memory:.1f}", f"{seconds:.0f}") for count, memory, seconds in observation.curve]
    findings.tables.append(Table("Resident memory", ("frames", "MiB", "s"), cells, left=()))
    for count, memory, _ in observation.curve:
        findings.add(f"memory after {count} frames", memory, "MiB")
    after_start = [memory for _, memory, _ in observation.curve[1:]]
    half = len(after_start) // 2
    growth = max(after_start[half:]) - max(after_start[:half])
    findings.add(
        f"{DEFAULT_NAME} {precision}, {SMALL_SIZE[0]}×{SMALL_SIZE[1]}, every frame",
        observation.inspected / observation.seconds,
        "frames/s",
    )
    findings.aim("highest memory of the second half above that of the first", growth, GROWTH, "MiB")
    findings.aim("frames lost where every one is inspected", float(frames - observation.lines), 0.0, "")


def write_recipes(folder: Path, precision: Precision, video: Path) -> list[Path]:
    """Write recipes of two products for the graph of a precision.

    The thresholds reject about one frame in fifty of the recording.

    Args:
        folder: The engine's folder.
        precision: The precision of the engine's graph.
        video: The recording. The recipes lie beside it.

    Returns:
        The files of the recipes.

    Raises:
        EngineError: The engine is damaged, or has no graph of the precision.
        BackendError: The inference library is missing or fails.
        FileError: A recipe cannot be written.
    """
    engine = Engine.open(folder, precision=precision)
    paths = []
    for seed in range(2):
        recipe = make_recipe(engine.encoder, engine.graph_id(), shots=4, seed=seed)
        inspections = [Detector(engine, recipe).predict(frame) for frame in read_frames(video, LOOP)]
        image = float(np.quantile([inspection.raw_score for inspection in inspections], 0.98))
        pixel = float(np.quantile([inspection.grids.max() for inspection in inspections], 0.98))
        paths.append(video.with_name(f"{folder.name}-{video.stem}-{seed}.safetensors"))
        recipe.with_thresholds(Thresholds(image=image, pixel=pixel)).save(paths[-1])
    return paths
