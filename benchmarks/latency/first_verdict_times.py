"""Times a line's start after a power cut, from the start of the process to the first verdict."""

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

from goodparts.evaluation.report.report import Findings
from goodparts.runtime.backends.library import BuildSettings
from goodparts.runtime.backends.registry import AUTO
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.spec import EngineSpec

from ..peers.torch_encoder import torch_installed
from ..synthetic import make_recipe
from ..timing import in_this_process, interleave, percentile
from .engines import PrecisionOnBackend
from .first_verdict import STEPS

log = logging.getLogger(__name__)

SHOTS = 4
WHOLE = "process start to first verdict"
TORCH = "torch fp32, its tower unpickled"
"""The name of the peer. It imports torch and loads the encoder with its weights by one `torch.load`, which is the least
that a program in torch must do."""

Seconds = dict[str, float]
"""The seconds of WHOLE and of each of STEPS."""


def time_first_verdicts(
    findings: Findings,
    repeat: int,
    folder: Path,
    spec: EngineSpec,
    candidates: list[PrecisionOnBackend],
    temporary: Path,
) -> None:
    """Add rows for every precision on a backend, for OpenVINO on the CPU both with a plan and without.

    The files are in the page cache. For a GPU the plan already exists, because a line does not build a plan when it
    starts; building takes minutes.

    Args:
        findings: Gets the rows. torch is the peer if it is installed.
        repeat: The number of timed starts of each candidate.
        folder: The engine's folder.
        spec: The engine's content.
        candidates: Precisions on backends that run here.
        temporary: A folder for recipes and copies of the engine.

    Raises:
        ParityError: OpenVINO's plan differs from torch by more than its precision allows.
        BackendError: OpenVINO cannot build the plan.
    """
    bare, planned = (copy_without_plans(folder, temporary / name) for name in ("bare", "planned"))
    starts: dict[str, Callable[[], Seconds]] = {}
    for candidate in candidates:
        recipe = temporary / f"{candidate.precision}.safetensors"
        make_recipe(spec.encoder, spec.graph_id("plain", candidate.precision), SHOTS).save(recipe)
        settings = {
            "engine": str(bare if candidate.backend in AUTO else folder.resolve()), "recipe": str(recipe),
            "backend": candidate.backend, "precision": candidate.precision, "tower": None,
        }  # fmt: skip
        starts[str(candidate)] = partial(start_process, settings, temporary)
        if candidate.backend == "openvino":
            plan, _ = build_plan(planned, candidate.precision, BuildSettings(), candidate.backend)
            if plan.file is not None:
                findings.add(f"{candidate}, plan", plan.file.size / 1e6, "MB")
            with_plan = {**settings, "engine": str(planned)}
            starts[f"{candidate} with a plan"] = partial(start_process, with_plan, temporary)
        if candidate.precision == "fp32" and torch_installed():
            with_tower = {**settings, "tower": str(save_tower(spec.encoder.backbone, temporary))}
            starts[TORCH] = partial(start_process, with_tower, temporary)
    for name, start in list(starts.items()):
        try:
            start()  # fills the caches, and fails if the candidate does not run here
        except BackendError as error:
            findings.remarks.append(f"{name} is left out: {error}")
            del starts[name]
    log.info("starting %s, %d times each", ", ".join(starts), repeat)
    timings = interleave({name: in_this_process(start) for name, start in starts.items()}, repeat, warmup=0)
    medians = {
        name: {step: percentile([seconds[step] for seconds in timing.results], 50) for step in (WHOLE, *STEPS)}
        for name, timing in timings.items()
    }
    peer = medians.pop(TORCH, {})
    for name, seconds in medians.items():
        for step in (WHOLE, *STEPS):
            findings.add(f"{name}, {step}", seconds[step], "s", TORCH if peer else None, peer.get(step))


def save_tower(backbone: str, folder: Path) -> Path:
    """Pickle a backbone's image tower, as a program in torch would keep it. Only the first call writes the file.

    Args:
        backbone: `small`, or an open_clip ViT or CLIP ResNet.
        folder: The folder for the file.

    Returns:
        The file.
    """
    path = folder / "tower.pt"
    if not path.exists():
        import torch

        from ..backbones import open_backbone

        log.info("building %s", backbone)
        torch.save(open_backbone(backbone).visual, path)
    return path


def copy_without_plans(folder: Path, target: Path) -> Path:
    """Copy an engine without its plans. Files are linked if the file system supports it.

    Args:
        folder: The engine's folder.
        target: The folder of the copy, which does not exist yet.

    Returns:
        The folder of the copy.
    """

    def link_or_copy(source: str, copy: str) -> None:
        try:
            os.link(source, copy)
        except OSError:
            shutil.copyfile(source, copy)

    return Path(shutil.copytree(folder, target, copy_function=link_or_copy, ignore=shutil.ignore_patterns("plans")))


def start_process(settings: dict[str, str | None], folder: Path) -> Seconds:
    """Start a process and time it until the verdict. The time in which the process ends does not count.

    Args:
        settings: The argument of first_verdict.py.
        folder: The folder in which the process runs, without other packages.

    Returns:
        The seconds of WHOLE and of each of STEPS.

    Raises:
        BackendError: The process fails; the message is the last line of its log.
    """
    command = [sys.executable, "-m", "goodparts.benchmarks.latency.first_verdict", json.dumps(settings)]
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        _, log_text = process.communicate()
    if not line:
        log_lines = log_text.strip().splitlines()
        raise BackendError(log_lines[-1] if log_lines else f"it ended with {process.returncode}")
    steps: Seconds = json.loads(line)
    return {WHOLE: seconds, **steps}
