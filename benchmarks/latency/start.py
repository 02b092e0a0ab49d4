"""Cold start: how long a line waits for Python, for the first verdict, for a recipe, and for another product.

The first verdict is timed from the start of a fresh process, for every pair of the engine (cold.py). Imports are
timed from outside, as whole fresh processes with the files in the page cache; nothing is subtracted, the bare
interpreter has a row of its own. The peer is `import torch`, which a deployment in torch pays before its first line.
Recipes have 4 shots; opening one checks its digest and every shape. Its peer is `torch.load` of the same arrays, the
released code's checkpoint, which checks neither.
"""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from goodparts.evaluation.report.report import Findings, Options
from goodparts.runtime import Detector, Engine, Recipe
from goodparts.runtime.backends.session import Session

from ..synthetic import make_recipe, open_backbone
from ..timing import here, interleave, percentile
from .cold_start import time_first_verdicts
from .precision_backends import find_pairs, open_or_make

log = logging.getLogger(__name__)

REPEAT = 5
WARM_ROUNDS_PER_REPEAT = 10  # what runs inside one process takes milliseconds
SHOTS = 4
IMPORT_AIM = 0.3  # seconds
OPEN_AIM = 20.0  # milliseconds
USE_AIM = 10.0  # milliseconds

FIRST_OPEN = """
import sys, time
from goodparts.runtime import Recipe
start = time.perf_counter()
Recipe.open(sys.argv[1])
print(time.perf_counter() - start)
"""


def measure(options: Options) -> Findings:
    findings = Findings()
    repeat = options.repeat or REPEAT
    with tempfile.TemporaryDirectory() as folder:
        log.info("building %s", options.backbone)
        backbone = open_backbone(options.backbone)
        place = options.engine or Path(folder) / "engine"
        spec = open_or_make(backbone, place, options.precisions)
        engine = Engine(spec, "fp32", {"plain": cast(Session, None)})  # changing product reads its identity only
        paths = [Path(folder) / f"{seed}.safetensors" for seed in range(2)]
        recipes = [make_recipe(engine.encoder, engine.graph_id(), SHOTS, seed) for seed in range(2)]
        for path, recipe in zip(paths, recipes, strict=True):
            recipe.save(path)
        log.info("starting Python %d times", 4 * repeat + 3)
        time_imports(findings, repeat, folder)
        pairs = find_pairs(place, spec, options.precisions, findings.remarks)
        time_first_verdicts(findings, repeat, place, spec, pairs, backbone.visual, Path(folder))
        time_recipes(findings, repeat, engine, paths, recipes)
    return findings


def run_python(code: str, folder: str, *arguments: str) -> str:
    """Run code in a fresh interpreter, away from this folder's packages; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


def time_imports(findings: Findings, repeat: int, folder: str) -> None:
    """Whole processes, in seconds."""
    code = {"bare": "pass", "ours": "import goodparts.runtime", "torch": "import torch"}
    timings = interleave(
        {name: here(functools.partial(run_python, text, folder)) for name, text in code.items()}, repeat
    )
    ours, peer = timings["ours"].median, timings["torch"].median
    findings.add("bare interpreter", timings["bare"].median, "s")
    findings.add("import goodparts.runtime", ours, "s", "import torch", peer)
    findings.aim("import goodparts.runtime", ours, IMPORT_AIM, "s")


def time_recipes(findings: Findings, repeat: int, engine: Engine, paths: list[Path], recipes: list[Recipe]) -> None:
    """Opening and changing product, in milliseconds; two products by turns, so that each change is one."""
    first = [float(run_python(FIRST_OPEN, str(paths[0].parent), str(paths[0]))) * 1e3 for _ in range(repeat)]
    checkpoint = paths[0].with_suffix(".pt")
    arrays = [recipes[0].image_prompts, recipes[0].pixel_prompts, *recipes[0].banks, recipes[0].shots]
    torch.save([torch.from_numpy(array) for array in arrays], checkpoint)
    detector = Detector(engine, recipes[0])
    turn = 0

    def change(products: list[Recipe] | list[Path]) -> Callable[[], None]:
        def use() -> None:
            nonlocal turn
            turn += 1
            detector.use(products[turn % 2])

        return use

    contenders: dict[str, Callable[[], object]] = {
        "open": lambda: Recipe.open(paths[0]),
        "load": lambda: torch.load(checkpoint, weights_only=True),
        "use recipe": change(recipes),
        "use path": change(paths),
    }
    timings = interleave(
        {name: here(call) for name, call in contenders.items()}, repeat * WARM_ROUNDS_PER_REPEAT, settle=1
    )
    milliseconds = {name: timing.median * 1e3 for name, timing in timings.items()}
    peer = ("torch.load of the same arrays", milliseconds["load"])
    cold = percentile(first, 50)
    findings.add(f"open a recipe, {SHOTS} shots, first in a process", cold, "ms")
    findings.add(f"open a recipe, {SHOTS} shots", milliseconds["open"], "ms", *peer)
    findings.add("change product, recipe in memory", milliseconds["use recipe"], "ms")
    findings.add("change product, recipe file", milliseconds["use path"], "ms", *peer)
    findings.aim("opening a recipe, first in a process", cold, OPEN_AIM, "ms")
    findings.aim("changing product, recipe in memory", milliseconds["use recipe"], USE_AIM, "ms")
    findings.aim("changing product, recipe file", milliseconds["use path"], USE_AIM, "ms")
