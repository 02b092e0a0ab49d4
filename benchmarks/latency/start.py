"""Cold start: times a line's waits for Python, for the first verdict, for a recipe, and for another product.

The first verdict is timed from the start of a new process, for every precision and backend of the engine
(first_verdict_times.py). Imports are timed from outside, as whole new processes with the files in the page cache. The
time of the bare interpreter is not subtracted, but has a row of its own. The peer is `import torch`, which a deployment
in torch must do first. Recipes have 4 shots. Opening a recipe includes a check of its digest and of every shape. The
peer is `torch.load` of the same arrays, as the released code opens its checkpoint, without such checks.

Without torch the peers are left out.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from goodparts.evaluation.report.report import Findings
from goodparts.runtime import Detector, Engine, Recipe
from goodparts.runtime.backends.session import Precision

from .. import options
from ..peers.torch_encoder import torch_installed
from ..synthetic import make_recipe
from ..timing import in_this_process, interleave, percentile
from .engines import engine_folder, find_precisions_on_backends, nothing_runs, open_or_make_engine
from .first_verdict_times import time_first_verdicts

log = logging.getLogger(__name__)

REPEAT = 5
ROUNDS_PER_REPEAT = 10  # rounds of calls inside one process; a call takes milliseconds
SHOTS = 4
IMPORT_AIM = 0.3  # seconds
OPEN_AIM = 20.0  # milliseconds
USE_AIM = 10.0  # milliseconds
WITHOUT_TORCH = "torch or open_clip is not installed: the peers, which need them, are left out"

FIRST_OPEN = """
import sys, time
from goodparts.runtime import Recipe
start = time.perf_counter()
Recipe.open(sys.argv[1])
print(time.perf_counter() - start)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_engine(parser)
    options.add_repeat(parser, REPEAT)


def measure(
    *, engine: Path | None, backbone: str | None, precisions: Sequence[Precision] | None, repeat: int
) -> Findings:
    findings = Findings()
    if not torch_installed():
        findings.remarks.append(WITHOUT_TORCH)
    with tempfile.TemporaryDirectory() as temporary_name:
        temporary = Path(temporary_name)
        folder = engine_folder(engine, backbone, temporary)
        spec = open_or_make_engine(folder, backbone, precisions)
        candidates = find_precisions_on_backends(folder, spec, precisions, findings.remarks)
        if not candidates:
            raise nothing_runs(findings.remarks)
        log.info("starting Python %d times", 4 * repeat + 3)
        time_imports(findings, repeat, temporary)
        time_first_verdicts(findings, repeat, folder, spec, candidates, temporary)
        opened = Engine.open(folder, backend=candidates[0].backend, precision=candidates[0].precision)
        time_recipes(findings, repeat, opened, temporary)
    return findings


def run_python(code: str, folder: Path, *arguments: str) -> str:
    """Run code in a new interpreter.

    Args:
        code: The program's source.
        folder: The folder in which it runs, without other packages.
        *arguments: The program's arguments.

    Returns:
        The program's output.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


def time_imports(findings: Findings, repeat: int, folder: Path) -> None:
    """Add rows with the seconds of whole processes that only import.

    Args:
        findings: Gets the rows and the aim.
        repeat: The number of timed rounds.
        folder: The folder in which the processes run, without other packages.
    """
    code = {"bare": "pass", "ours": "import goodparts.runtime"}
    if torch_installed():
        code["torch"] = "import torch"
    timings = interleave(
        {name: in_this_process(functools.partial(run_python, text, folder)) for name, text in code.items()}, repeat
    )
    ours = timings["ours"].median
    peer = ("import torch", timings["torch"].median) if "torch" in timings else ()
    findings.add("bare interpreter", timings["bare"].median, "s")
    findings.add("import goodparts.runtime", ours, "s", *peer)
    findings.aim("import goodparts.runtime", ours, IMPORT_AIM, "s")


def time_recipes(findings: Findings, repeat: int, engine: Engine, folder: Path) -> None:
    """Add rows with the milliseconds of opening a recipe and of changing the product.

    Two products take turns, so that every change is to another product.

    Args:
        findings: Gets the rows and the aims.
        repeat: The number of processes that open a recipe, and a tenth of the number of rounds inside this process.
        engine: The engine that the products are for.
        folder: A folder for the files of the recipes.
    """
    recipes = [make_recipe(engine.encoder, engine.graph_id(), SHOTS, seed) for seed in range(2)]
    paths = [folder / f"{seed}.safetensors" for seed in range(2)]
    for path, recipe in zip(paths, recipes, strict=True):
        recipe.save(path)
    first_opens = [float(run_python(FIRST_OPEN, folder, str(paths[0]))) * 1e3 for _ in range(repeat)]
    detector = Detector(engine, recipes[0])
    calls: dict[str, Callable[[], object]] = {
        "open": functools.partial(Recipe.open, paths[0]),
        "use recipe": change_product(detector, recipes),
        "use path": change_product(detector, paths),
    }
    if torch_installed():
        calls["load"] = load_in_torch(recipes[0], folder)
    timings = interleave(
        {name: in_this_process(call) for name, call in calls.items()}, repeat * ROUNDS_PER_REPEAT, settle=1
    )
    milliseconds = {name: timing.median * 1e3 for name, timing in timings.items()}
    peer = ("torch.load of the same arrays", milliseconds["load"]) if "load" in milliseconds else ()
    first_open = percentile(first_opens, 50)
    findings.add(f"open a recipe, {SHOTS} shots, first in a process", first_open, "ms")
    findings.add(f"open a recipe, {SHOTS} shots", milliseconds["open"], "ms", *peer)
    findings.add("change product, recipe in memory", milliseconds["use recipe"], "ms")
    findings.add("change product, recipe file", milliseconds["use path"], "ms", *peer)
    findings.aim("opening a recipe, first in a process", first_open, OPEN_AIM, "ms")
    findings.aim("changing product, recipe in memory", milliseconds["use recipe"], USE_AIM, "ms")
    findings.aim("changing product, recipe file", milliseconds["use path"], USE_AIM, "ms")


def change_product(detector: Detector, products: Sequence[Recipe] | Sequence[Path]) -> Callable[[], None]:
    """Return a call that changes to the next product, and from the last to the first.

    Args:
        detector: The detector whose product changes.
        products: The recipes, or the recipe files.
    """
    turns: Iterator[Recipe | Path] = itertools.cycle(products)
    return lambda: detector.use(next(turns))


def load_in_torch(recipe: Recipe, folder: Path) -> Callable[[], object]:
    """Save a recipe's arrays with torch.

    Args:
        recipe: The recipe, whose prompts, banks and shots are saved.
        folder: The folder for the file, recipe.pt.

    Returns:
        The call that loads them.
    """
    import torch

    checkpoint = folder / "recipe.pt"
    arrays = [recipe.image_prompts, recipe.pixel_prompts, *recipe.banks, recipe.shots]
    torch.save([torch.from_numpy(array) for array in arrays], checkpoint)
    return functools.partial(torch.load, checkpoint, weights_only=True)
