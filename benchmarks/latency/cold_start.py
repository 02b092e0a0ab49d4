"""From process start to first verdict: how long a line waits after a power cut."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from goodparts.evaluation.report.report import Findings
from goodparts.runtime.backends.library import BuildSettings
from goodparts.runtime.backends.registry import AUTO
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.spec import EngineSpec
from goodparts.trainer.clip.tower import Tower

from ..synthetic import make_recipe
from ..timing import here, interleave, percentile
from .first_verdict import STEPS
from .precision_backends import Pair

log = logging.getLogger(__name__)

SHOTS = 4
WHOLE = "process start to first verdict"
TORCH = "torch fp32, its tower unpickled"
"""The peer: the import, and the encoder with its weights in one `torch.load`, which is the least that torch needs."""

Seconds = dict[str, float]
"""WHOLE and every one of STEPS → seconds."""


def time_first_verdicts(
    findings: Findings, repeat: int, folder: Path, spec: EngineSpec, pairs: list[Pair], tower: Tower, temporary: Path
) -> None:
    """Rows for every pair, OpenVINO's on the CPU with a plan and without; files are in the page cache.

    A GPU's pair has its plan already: building one takes minutes, and is never part of a start.
    """
    checkpoint = temporary / "tower.pt"
    torch.save(tower, checkpoint)
    bare, planned = (without_plans(folder, temporary / name) for name in ("bare", "planned"))
    starts: dict[str, Callable[[], Seconds]] = {}
    for pair in pairs:
        recipe = temporary / f"{pair.precision}.safetensors"
        make_recipe(spec.encoder, spec.graph_id("plain", pair.precision), SHOTS).save(recipe)
        settings = {
            "engine": str(bare if pair.backend in AUTO else folder.resolve()), "recipe": str(recipe),
            "backend": pair.backend, "precision": pair.precision, "tower": None,
        }  # fmt: skip
        starts[str(pair)] = partial(first_verdict, settings, temporary)
        if pair.backend == "openvino":
            plan, _ = build_plan(planned, pair.precision, BuildSettings(), pair.backend)
            if plan.file is not None:
                findings.add(f"{pair}, plan", plan.file.size / 1e6, "MB")
            with_plan = {**settings, "engine": str(planned)}
            starts[f"{pair} with a plan"] = partial(first_verdict, with_plan, temporary)
        if pair.precision == "fp32":
            starts[TORCH] = partial(first_verdict, {**settings, "tower": str(checkpoint)}, temporary)
    for name, start in list(starts.items()):
        try:
            start()  # fills the caches, and shows whether it can
        except BackendError as error:
            findings.remarks.append(f"{name} is left out: {error}")
            del starts[name]
    log.info("starting %s, %d times each", ", ".join(starts), repeat)
    timings = interleave({name: here(start) for name, start in starts.items()}, repeat, warm=0)
    medians = {
        name: {step: percentile([taken[step] for taken in timing.returned], 50) for step in (WHOLE, *STEPS)}
        for name, timing in timings.items()
    }
    peer = medians.pop(TORCH, {})
    for name, seconds in medians.items():
        for step in (WHOLE, *STEPS):
            findings.add(f"{name}, {step}", seconds[step], "s", TORCH if peer else None, peer.get(step))


def without_plans(folder: Path, place: Path) -> Path:
    """The same engine, its files linked where the file system can."""

    def take(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

    return Path(shutil.copytree(folder, place, copy_function=take, ignore=shutil.ignore_patterns("plans")))


def first_verdict(settings: dict[str, str | None], folder: Path) -> Seconds:
    """Start a process in `folder`, away from other packages; its end is not waited for on the clock."""
    command = [sys.executable, "-m", "goodparts.benchmarks.latency.first_verdict", json.dumps(settings)]
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        _, said = process.communicate()
    if not line:
        raise BackendError(said.strip().splitlines()[-1] if said.strip() else f"it ended with {process.returncode}")
    steps: Seconds = json.loads(line)
    return {WHOLE: seconds, **steps}
