"""`goodparts watch` as it stands on a line: four H.264 recordings as cameras, one engine, watched from outside.

Two questions. Does it keep up: the recordings, 640×480, come in their own time at 30 frames a second each, newest frame
wins; what is dropped, and how late are verdicts? Does it leak: small recordings come as fast as they can be read, every
frame is inspected, and the process' resident memory is read off over 200 000 frames.

The inference library gets one thread unless told otherwise: a model as small as the demo's gains little from a second,
whose waiting costs the core that decodes. The line is a process of its own, without torch, read through its Prometheus
metrics and /proc. Percentiles are of windows of 1000 frames a source, the worst one after the first second.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import av
import numpy as np
from goodparts.drawn.photos import DrawnProduct
from goodparts.evaluation.report.report import Findings, Options
from goodparts.evaluation.report.tables import Table
from goodparts.runtime import Detector, Engine
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import GoodpartsError, SettingsError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.line.meter import STAGES
from goodparts.runtime.recipe.header import Thresholds

from ..synthetic import DEMO, make_recipe, open_backbone
from .line_stages import time_pieces
from .precision_backends import open_or_make

log = logging.getLogger(__name__)

SOURCES, FPS = 4, 30
SIZE, SMALL = (640, 480), (160, 120)
SECONDS = 60
POLL = 0.25
"""Seconds between two looks at the line."""
LOOP = 120
"""Frames that are encoded; a recording repeats them."""
POINTS = 20
"""Of the memory's curve."""
GROWTH = 8.0
"""MiB that the second half of the curve may rise above the first."""
_METRIC = re.compile(r'goodparts_(\w+)\{source="(\d)"(?:,stage="(\w+)",quantile="0.99")?\} (\S+)')


@dataclass
class Watched:
    """What was seen of a line. seconds, cpu: on the clock and of processor time, since the first frame; p99: per stage,
    milliseconds, the worst of all sources and windows; curve: frames inspected, resident MiB, seconds; lines: of JSON
    that it left."""

    inspected: int = 0
    dropped: int = 0
    lines: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    p99: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def measure(options: Options) -> Findings:
    if not Path("/proc/self/status").is_file():
        raise SettingsError("bench line reads the process' memory from /proc: it needs Linux")
    findings = Findings()
    frames = options.frames
    threads = options.threads or 1
    paced = min(SECONDS * FPS, max(FPS, frames // SOURCES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = record(folder / "large.mp4", SIZE, paced)
        small = record(folder / "small.mp4", SMALL, frames // SOURCES)
        for backbone in dict.fromkeys((DEMO, options.backbone)):
            log.info("building %s", backbone)
            engine = folder / backbone
            spec = open_or_make(open_backbone(backbone), engine, options.precisions)
            for precision in options.precisions or spec.graph("plain").precisions:
                recipes = write_recipes(engine, precision, large)
                log.info("%s %s: four cameras for %d s", backbone, precision, paced / FPS)
                seen = run_line(engine, precision, threads, recipes, large, "newest")
                report_paced(findings, f"{backbone} {precision}", seen)
            if backbone == DEMO:
                time_pieces(findings, engine, write_recipes(engine, "fp32", large)[0], large)
                fastest: Precision = "bf16" if "bf16" in spec.graph("plain").precisions else "fp32"
                log.info("%s %s: %d frames", backbone, fastest, frames)
                recipes = write_recipes(engine, fastest, small)
                seen = run_line(engine, fastest, threads, recipes, small, "every", frames // POINTS)
                report_memory(findings, fastest, seen, frames // SOURCES * SOURCES)
    return findings


def report_paced(findings: Findings, name: str, seen: Watched) -> None:
    offered = seen.inspected + seen.dropped
    rate = seen.inspected / seen.seconds
    findings.add(f"{name}, inspected", rate, "frames/s", f"offered by {SOURCES} cameras", offered / seen.seconds, True)
    findings.add(f"{name}, dropped for a newer frame", 100.0 * seen.dropped / max(1, offered), "%")
    findings.add(f"{name}, processor time", seen.cpu * 1e3 / max(1, seen.inspected), "ms/frame")
    for stage in STAGES:
        findings.add(f"{name}, p99 {stage}", seen.p99[stage], "ms")
    findings.aim(f"{name}, inspected", rate, 0.99 * SOURCES * FPS, "frames/s", at_least=True)


def report_memory(findings: Findings, precision: str, seen: Watched, frames: int) -> None:
    cells = [(str(count), f"{memory:.1f}", f"{seconds:.0f}") for count, memory, seconds in seen.curve]
    findings.tables.append(Table("Resident memory", ("frames", "MiB", "s"), cells, left=()))
    for count, memory, _ in seen.curve:
        findings.add(f"memory after {count} frames", memory, "MiB")
    warm = [memory for _, memory, _ in seen.curve[1:]]
    half = len(warm) // 2
    growth = max(warm[half:]) - max(warm[:half])
    findings.add(f"{DEMO} {precision}, {SMALL[0]}×{SMALL[1]}, every frame", seen.inspected / seen.seconds, "frames/s")
    findings.aim("highest memory of the second half above that of the first", growth, GROWTH, "MiB")
    findings.aim("frames lost where every one is inspected", float(frames - seen.lines), 0.0, "")


def record(path: Path, size: tuple[int, int], frames: int) -> Path:
    """An H.264 recording of a drawn part that passes a camera; LOOP frames encoded once and repeated."""
    part = DrawnProduct("gear", 1).photo(1, None, size=size[::-1]).image
    rng = np.random.default_rng(0)
    loop = path.with_suffix(".loop.mp4")
    with av.open(str(loop), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "veryfast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(LOOP):
            moved = np.roll(part, number * size[0] // LOOP, axis=1).astype(np.int16)
            pixels = np.clip(moved + rng.integers(-3, 4, moved.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(loop)) as source, av.open(str(path), "w") as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        step, written = 0, 0
        while written < frames:
            source.seek(0)
            for packet in source.demux(video=0):
                if packet.pts is None or packet.duration is None or written == frames:
                    continue
                packet.pts = packet.dts = step
                step += packet.duration
                packet.stream = copied
                target.mux(packet)
                written += 1
    loop.unlink()
    return path


def read_frames(video: Path, count: int) -> list[Array8]:
    """The first pictures of a recording, uint8 RGB [H,W,3]."""
    with av.open(str(video)) as container:
        return [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(count), container.decode(video=0), strict=False)
        ]


def write_recipes(folder: Path, precision: Precision, video: Path) -> list[Path]:
    """Two products whose thresholds reject about one frame in fifty of the recording, for this precision's graph."""
    engine = Engine.open(folder, precision=precision)
    paths = []
    for seed in range(2):
        recipe = make_recipe(engine.encoder, engine.graph_id(), shots=4, seed=seed)
        seen = [Detector(engine, recipe).predict(frame) for frame in read_frames(video, LOOP)]
        image = float(np.quantile([each.score for each in seen], 0.98))
        pixel = float(np.quantile([each.grids.max() for each in seen], 0.98))
        paths.append(video.with_name(f"{folder.name}-{video.stem}-{seed}.safetensors"))
        recipe.with_thresholds(Thresholds(image=image, pixel=pixel)).save(paths[-1])
    return paths


def run_line(
    engine: Path, precision: str, threads: int, recipes: list[Path], video: Path, policy: str, every: int | None = None
) -> Watched:
    """Run `goodparts watch` on four copies of a recording until they end. every: frames between points of the curve."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        lines = [f'engine = "{engine}"\nprecision = "{precision}"\nthreads = {threads}']
        lines.append(f'[output]\njson = "out.jsonl"\nrejects = "rejects"\nrejects_limit_mb = 50.0\nmetrics = {port}')
        for number in range(SOURCES):
            lines.append(f'[[source]]\nname = "{number}"\naddress = "{video}"\npolicy = "{policy}"')
            lines.append(f'recipe = "{recipes[number % len(recipes)]}"')
        (folder / "line.toml").write_text("\n".join(lines))
        command = "import sys; from goodparts.cli import main; sys.exit(main())"
        with (folder / "said").open("wb+") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", command, "watch", "--line", str(folder / "line.toml")], stderr=said
            )
            try:
                seen = follow(process, port, every)
            finally:
                process.kill()
                code = process.wait()
            if code:
                said.seek(0)
                raise GoodpartsError(f"the line ended with {code}: {said.read().decode().strip()}")
        with (folder / "out.jsonl").open("rb") as results:
            seen.lines = sum(1 for _ in results)
        return seen


def follow(process: subprocess.Popen[bytes], port: int, every: int | None) -> Watched:
    """Read a line's metrics and memory until it ends."""
    seen, due = Watched(), 0
    started: tuple[float, float] | None = None
    while process.poll() is None:
        time.sleep(POLL)
        try:
            numbers = read_metrics(port)
            now, cpu, memory = time.monotonic(), processor_seconds(process.pid), resident(process.pid)
        except OSError:  # it is starting, or ending
            continue
        inspected = total(numbers, "inspected_total")
        if not inspected:
            continue
        started = started or (now, cpu)
        seen.inspected, seen.dropped = inspected, total(numbers, "dropped_total")
        seen.seconds, seen.cpu = now - started[0], cpu - started[1]
        for (metric, _, stage), value in numbers.items():
            if metric == "latency_milliseconds" and seen.seconds > 1:
                seen.p99[stage] = max(seen.p99.get(stage, 0.0), value)
        if every and inspected >= due:
            seen.curve.append((inspected, memory, seen.seconds))
            due = (inspected // every + 1) * every
            log.info("%d frames, %.1f MiB, %.0f s", *seen.curve[-1])
    return seen


Metrics = dict[tuple[str, str, str], float]
"""(metric, source, stage) → value; of latencies the 99th percentile."""


def read_metrics(port: int) -> Metrics:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {(metric, source, stage): float(value) for metric, source, stage, value in _METRIC.findall(text)}


def total(numbers: Metrics, metric: str) -> int:
    return int(sum(value for (name, _, _), value in numbers.items() if name == metric))


def processor_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
