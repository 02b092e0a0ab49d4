"""A line in a process of its own, observed from outside: by its Prometheus metrics, and its memory and time in /proc.

The line reports percentiles of windows of 1000 frames per source. The worst percentile after the first second is kept.
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

from goodparts.runtime.core.errors import GoodpartsError

log = logging.getLogger(__name__)

SOURCES = 4
POLL = 0.25
"""Seconds between two observations."""
_METRIC = re.compile(r'goodparts_(\w+)\{source="(\d)"(?:,stage="(\w+)",quantile="0.99")?\} (\S+)')


@dataclass
class LineObservation:
    """The observations of a line from outside.

    Attributes:
        inspected: The number of inspected frames.
        dropped: The number of frames that were dropped for a newer frame.
        lines: The number of lines of JSON that the line wrote.
        seconds: The elapsed time since the first frame.
        cpu: The processor time since the first frame, in seconds.
        p99: The 99th percentile of the latency in milliseconds by stage, the worst of all sources and windows.
        curve: The inspected frames, the resident MiB and the elapsed seconds at each point.
    """

    inspected: int = 0
    dropped: int = 0
    lines: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    p99: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def run_line(
    engine: Path, precision: str, threads: int, recipes: list[Path], video: Path, policy: str, every: int | None = None
) -> LineObservation:
    """Run `goodparts watch` on SOURCES copies of a recording until they end.

    Args:
        engine: The engine's folder.
        precision: Precision of the engine's graph.
        threads: Threads of the inference library.
        recipes: Recipes that the sources use in turn.
        video: The recording, an H.264 file.
        policy: "newest" to play the recording in its own time, or "every" to read it as fast as possible.
        every: Frames between two points of the memory's curve; None for no curve.

    Returns:
        What was observed from outside.

    Raises:
        GoodpartsError: The line ended with an error.
    """
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
        with (folder / "log").open("wb+") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-c", command, "watch", "--line", str(folder / "line.toml")], stderr=log_file
            )
            try:
                observation = follow(process, port, every)
            finally:
                process.kill()
                code = process.wait()
            if code:
                log_file.seek(0)
                raise GoodpartsError(f"the line ended with {code}: {log_file.read().decode().strip()}")
        with (folder / "out.jsonl").open("rb") as results:
            observation.lines = sum(1 for _ in results)
        return observation


def follow(process: subprocess.Popen[bytes], port: int, every: int | None) -> LineObservation:
    """Read the metrics and the memory of a line until it ends.

    Args:
        process: The line's process.
        port: The port of its Prometheus page on this machine.
        every: The number of frames between two points of the memory's curve; None for no curve.

    Returns:
        What was observed, without the number of lines of JSON.
    """
    observation, next_point = LineObservation(), 0
    started: tuple[float, float] | None = None
    while process.poll() is None:
        time.sleep(POLL)
        try:
            numbers = read_metrics(port)
            now, cpu, memory = time.monotonic(), processor_seconds(process.pid), resident_memory(process.pid)
        except OSError:  # the line is just starting or ending
            continue
        inspected = total(numbers, "inspected_total")
        if not inspected:
            continue
        started = started or (now, cpu)
        observation.inspected, observation.dropped = inspected, total(numbers, "dropped_total")
        observation.seconds, observation.cpu = now - started[0], cpu - started[1]
        for (metric, _, stage), value in numbers.items():
            if metric == "latency_milliseconds" and observation.seconds > 1:
                observation.p99[stage] = max(observation.p99.get(stage, 0.0), value)
        if every and inspected >= next_point:
            observation.curve.append((inspected, memory, observation.seconds))
            next_point = (inspected // every + 1) * every
            log.info("%d frames, %.1f MiB, %.0f s", *observation.curve[-1])
    return observation


Metrics = dict[tuple[str, str, str], float]
"""Values by (metric, source, stage). The values of latencies are 99th percentiles."""


def read_metrics(port: int) -> Metrics:
    """Read the line's numbers from its Prometheus page.

    Args:
        port: The port of the page on this machine.

    Returns:
        The values by metric, source and stage.

    Raises:
        OSError: The line does not answer, as when it is just starting or ending.
    """
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {(metric, source, stage): float(value) for metric, source, stage, value in _METRIC.findall(text)}


def total(numbers: Metrics, metric: str) -> int:
    """Add up a metric over all sources.

    Args:
        numbers: The values of `read_metrics`.
        metric: The name of the metric, without `goodparts_`.

    Returns:
        The sum, a number of frames.
    """
    return int(sum(value for (name, _, _), value in numbers.items() if name == metric))


def processor_seconds(pid: int) -> float:
    """Return the user and system time in seconds of all threads of a process so far.

    Args:
        pid: The process's number.

    Raises:
        OSError: There is no such process.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_memory(pid: int) -> float:
    """Return the resident memory of a process in MiB.

    Args:
        pid: The process's number.

    Raises:
        OSError: There is no such process.
    """
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
