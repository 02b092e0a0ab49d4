"""`make demo`: the whole job on drawn parts, and on surfaces that look like photographs, of kinds that the backbone has
never seen.

It draws them, learns each from four good photos, inspects good and defective ones with the torch-free runtime, and
leaves photos, recipes, overlays, a contact sheet and JSON lines in a folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from goodparts.drawn.parts import DEFECTS, HELD_OUT_KINDS
from goodparts.drawn.photos import DrawnProduct
from goodparts.evaluation.metrics.image import auroc
from goodparts.runtime import Detector
from PIL import Image

from goodparts.cli import train_and_export

SHOTS, GOOD, LINE = 4, 12, 1000
SIZE = (400, 400)
SURFACES = "turned metal", "brick"
"""Of the surfaces and the pictures that the training of the backbone held out; brick is cut from a photograph."""
SURFACE_DEFECTS = "scratch", "crack", "hole", "stain", "foreign body", "drop", "crease", "rust"
"""The last four are held out too."""


def draw(folder: Path, kind: str) -> None:
    """Draw the photos of one line in MVTec's layout: train/good, test/good, test/<defect>, ground_truth/<defect>."""
    line = DrawnProduct(kind, LINE)
    photos: list[tuple[str, int, str | None]] = [("train/good", index, None) for index in range(SHOTS)]
    photos += [("test/good", 100 + index, None) for index in range(GOOD)]
    defects = SURFACE_DEFECTS if kind in SURFACES else DEFECTS
    photos += [(f"test/{defect.replace(' ', '_')}", 200 + index, defect) for index, defect in enumerate(defects * 2)]
    for subfolder, seed, defect in photos:
        photo = line.photo(seed, defect, size=SIZE)
        target = folder / subfolder / f"{seed}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo.image).save(target)
        if defect is not None:
            truth = folder / subfolder.replace("test", "ground_truth") / f"{seed}_mask.png"
            truth.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo.mask).save(truth)


def inspect(folder: Path, engine: Path, recipe: Path) -> list[dict[str, object]]:
    """Run `goodparts inspect` as a user would, and return its JSON lines."""
    out = folder / "inspected.jsonl"
    command = [sys.executable, "-c", "from goodparts.cli import main; raise SystemExit(main())", "inspect"]
    options = {"--engine": engine, "--recipe": recipe, "--json": out, "--overlays": folder / "overlays"}
    options["--sheet"] = folder / "sheet.png"
    arguments = [str(word) for option in options.items() for word in option]
    subprocess.run([*command, str(folder / "test"), *arguments], check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in out.read_text().splitlines()]


def pixel_auroc(folder: Path, engine: Path, recipe: Path) -> float:
    """Return AUROC over every fourth pixel of the maps of all test photos."""
    detector = Detector.open(engine, recipe)
    masks, maps = [], []
    for path in sorted((folder / "test").rglob("*.png")):
        truth = folder / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        scores = detector.predict(path).map
        mask = Image.open(truth).resize(scores.shape[::-1]) if truth.exists() else Image.new("1", scores.shape[::-1])
        masks.append(np.asarray(mask.convert("1"))[::4, ::4])
        maps.append(scores[::4, ::4])
    return auroc(np.stack(masks), np.stack(maps))


def run(folder: Path) -> list[str]:
    """Run the demo in `folder`, and return a table's lines."""
    engine = folder / "engine"
    lines = [
        f"{'':12} {'image AUROC':>12} {'pixel AUROC':>12} {'bad above good':>17} {'good rejected':>14} "
        f"{'bad missed':>11} {'ms a frame':>11}"
    ]
    for kind in (*HELD_OUT_KINDS, *SURFACES):
        product_folder = folder / kind
        draw(product_folder, kind)
        recipe = product_folder / "recipe.safetensors"
        options = {
            "--images": product_folder / "train" / "good",
            "--product": kind,
            "--engine": engine,
            "--out": recipe,
        }
        code = train_and_export(["--backbone", "small", *(str(word) for option in options.items() for word in option)])
        if code:
            raise SystemExit(code)
        records = inspect(product_folder, engine, recipe)
        bad = np.array([Path(str(record["path"])).parent.name != "good" for record in records])
        scores = np.array([record["score"] for record in records], np.float64)
        rejected = np.array([record["verdict"] == "reject" for record in records])
        milliseconds = np.array([sum(record["milliseconds"].values()) for record in records])  # type: ignore[attr-defined]
        lines.append(
            f"{kind:12} {auroc(bad, scores):12.3f} {pixel_auroc(product_folder, engine, recipe):12.3f} "
            f"{(scores[bad] > scores[~bad].max()).sum():>11} of {bad.sum():<2} "
            f"{rejected[~bad].sum():>8} of {(~bad).sum():<2} {(~rejected[bad]).sum():>5} of {bad.sum():<2} "
            f"{np.median(milliseconds):11.1f}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="The whole job on drawn parts and surfaces.")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), metavar="DIR", help="default: %(default)s")
    folder = parser.parse_args().out
    lines = run(folder)
    print("\n".join(["", *lines, "", f"Look at {folder}/*/sheet.png and {folder}/*/overlays."]))


if __name__ == "__main__":
    main()
