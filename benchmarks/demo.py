"""`make demo`: the whole job on drawn parts, and on surfaces that look like photographs, of kinds that the backbone has
never seen.

It draws them, learns each from four good photos without torch, and inspects good and bad ones: with the thresholds that
the four photos give, after settling in on a hundred parts of the line, and with examples of bad parts as well. Photos,
recipes, overlays, a contact sheet and JSON lines stay in a folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from goodparts.drawn.parts import DEFECTS, HELD_OUT_KINDS
from goodparts.drawn.photos import DrawnProduct
from goodparts.evaluation.metrics.image import auroc
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.recipe.recalibrate import recalibrate
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.settle import SETTLING_PARTS, SETTLING_RATE
from PIL import Image

from goodparts import Detector, teach

SHOTS, GOOD, LINE = 4, 12, 1000
BAD_OF_LINE = 2
"""How many of the SETTLING_PARTS parts of the line are bad."""
SIZE = (400, 400)
SURFACES = "turned metal", "brick"
"""Two surfaces that the training of the backbone held out; brick is cut from a photograph."""
SURFACE_DEFECTS = "scratch", "crack", "hole", "stain", "foreign body", "drop", "crease", "rust"
"""The last four are held out too."""


def draw(folder: Path, kind: str) -> None:
    """Draw the photos of one product in MVTec's layout, and two folders more.

    They are train/good, test/good, test/<defect> and ground_truth/<defect>; `line` holds parts as they come, and
    `bad_examples` a bad part of every defect.
    """
    product = DrawnProduct(kind, LINE)
    defects = SURFACE_DEFECTS if kind in SURFACES else DEFECTS
    photos: list[tuple[str, int, str | None]] = [("train/good", index, None) for index in range(SHOTS)]
    photos += [("test/good", 100 + index, None) for index in range(GOOD)]
    photos += [(f"test/{defect.replace(' ', '_')}", 200 + index, defect) for index, defect in enumerate(defects * 2)]
    photos += [("bad_examples", 300 + index, defect) for index, defect in enumerate(defects)]
    of_line = [*[None] * (SETTLING_PARTS - BAD_OF_LINE), *defects[:BAD_OF_LINE]]
    photos += [("line", 400 + index, defect) for index, defect in enumerate(of_line)]
    for subfolder, seed, defect in photos:
        photo = product.photo(seed, defect, size=SIZE)
        target = folder / subfolder / f"{seed}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo.image).save(target)
        if defect is not None and subfolder.startswith("test"):
            truth = folder / subfolder.replace("test", "ground_truth") / f"{seed}_mask.png"
            truth.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo.mask).save(truth)


def inspect(folder: Path, recipe: Path) -> list[dict[str, object]]:
    """Run `goodparts inspect` as a user would, and return its JSON lines."""
    out = folder / "inspected.jsonl"
    command = [sys.executable, "-c", "from goodparts.cli import main; raise SystemExit(main())", "inspect"]
    options = {"--recipe": recipe, "--json": out, "--overlays": folder / "overlays", "--sheet": folder / "sheet.png"}
    arguments = [str(word) for option in options.items() for word in option]
    subprocess.run([*command, str(folder / "test"), *arguments], check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in out.read_text().splitlines()]


def pixel_auroc(folder: Path, detector: Detector, photos: Iterable[Path]) -> float:
    """Return AUROC over every fourth pixel of the maps of all test photos."""
    masks, maps = [], []
    for path in photos:
        truth = folder / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        scores = detector.predict(path).map
        mask = Image.open(truth).resize(scores.shape[::-1]) if truth.exists() else Image.new("1", scores.shape[::-1])
        masks.append(np.asarray(mask.convert("1"))[::4, ::4])
        maps.append(scores[::4, ::4])
    return auroc(np.stack(masks), np.stack(maps))


def thresholds(folder: Path, taught: Recipe, engine: Engine) -> dict[str, float]:
    """Return the raw thresholds of three stages: of the shots, after settling in, and with bad parts as examples."""
    settled = recalibrate(
        taught, engine.encode, [], [folder / "bad_examples"], SETTLING_RATE, unlabelled=[folder / "line"]
    )
    assert settled.bad_photos is not None
    return {
        f"{SHOTS} good photos": taught.header.thresholds.image,
        f"settled on {SETTLING_PARTS} parts": settled.recipe.header.thresholds.image,
        f"and {len(settled.bad_photos.bad_scores)} bad examples": settled.bad_photos.proposal.threshold,
    }


def demonstrate(folder: Path, kind: str, engine: Engine) -> list[str]:
    """Run the demo with one product, and return its lines of the table."""
    draw(folder, kind)
    taught = teach(folder / "train" / "good", kind, engine=engine)
    recipe = folder / "recipe.safetensors"
    taught.save(recipe)
    records = inspect(folder, recipe)
    bad = np.array([Path(str(record["path"])).parent.name != "good" for record in records])
    scores = np.array([record["raw_score"] for record in records], np.float64)
    milliseconds = [sum(record["milliseconds"].values()) for record in records]  # type: ignore[attr-defined]
    pixels = pixel_auroc(folder, Detector(recipe), sorted((folder / "test").rglob("*.png")))
    above = (scores[bad] > scores[~bad].max()).sum()
    lines = [
        f"{kind}: image AUROC {auroc(bad, scores):.3f}, pixel AUROC {pixels:.3f}, {above} of {bad.sum()} bad parts "
        f"score above every good one, {np.median(milliseconds):.1f} ms a frame"
    ]
    for stage, threshold in thresholds(folder, taught, engine).items():
        lines.append(f"    {stage:24} {_errors(bad, scores >= threshold)}")
    return lines


def _errors(bad: npt.NDArray[np.bool_], rejected: npt.NDArray[np.bool_]) -> str:
    wrongly, missed = rejected[~bad].sum(), (~rejected[bad]).sum()
    return f"{wrongly:2} of {(~bad).sum()} good rejected, {missed:2} of {bad.sum()} bad missed"


def run(folder: Path, kinds: Sequence[str] = (*HELD_OUT_KINDS, *SURFACES)) -> list[str]:
    """Run the demo in `folder`, and return the lines of a table."""
    engine = Engine.open()
    return [line for kind in kinds for line in demonstrate(folder / kind, kind, engine)]


def main() -> None:
    parser = argparse.ArgumentParser(description="The whole job on drawn parts and surfaces.")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), metavar="DIR", help="default: %(default)s")
    folder = parser.parse_args().out
    lines = run(folder)
    print("\n".join(["", *lines, "", f"Look at {folder}/*/sheet.png and {folder}/*/overlays."]))


if __name__ == "__main__":
    main()
