"""`make demo`: the whole job on drawn parts and a drawn surface, of kinds that the backbone was not trained on.

It draws photos, learns each product from four good photos without torch, as `goodparts try` does, and inspects good and
bad parts. It inspects them with three thresholds: the threshold that the four photos give, the threshold after settling
in on a hundred parts of the line, and the threshold that examples of bad parts give. The photos and one sheet stay in a
folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from goodparts.drawn.parts import DEFECTS, HELD_OUT_KINDS
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.commands.trial import SHOTS, Trial, try_product
from goodparts.runtime.commands.trial_sheet import describe_trial, to_html
from goodparts.runtime.core.files import write_atomic
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.recipe.settle import SETTLING_PARTS
from PIL import Image

GOOD, LINE = 12, 1000
BAD_OF_LINE = 2
"""The number of bad parts among the SETTLING_PARTS parts of the line."""
SIZE = (400, 400)
SURFACE = "turned metal"
"""A surface that the backbone was not trained on."""
SURFACE_DEFECTS = "scratch", "crack", "hole", "stain", "foreign body", "drop", "crease", "rust"
"""The backbone was not trained on the last four."""


def draw(folder: Path, kind: str) -> None:
    """Draw the photos of one product in the folders `good`, `bad/<defect>`, `line` and `bad_examples`.

    `line` has the unsorted parts of a line: good parts and a few bad parts.

    Args:
        folder: The product's folder, which is made.
        kind: A kind of drawn part or surface, such as "gear".
    """
    product = DrawnProduct(kind, LINE)
    defects = SURFACE_DEFECTS if kind == SURFACE else DEFECTS
    photos: list[tuple[str, int, str | None]] = [("good", index, None) for index in range(SHOTS)]
    photos += [("good", 100 + index, None) for index in range(GOOD)]
    photos += [(f"bad/{defect.replace(' ', '_')}", 200 + index, defect) for index, defect in enumerate(defects * 2)]
    photos += [("bad_examples", 300 + index, defect) for index, defect in enumerate(defects)]
    of_line = [*[None] * (SETTLING_PARTS - BAD_OF_LINE), *defects[:BAD_OF_LINE]]
    photos += [("line", 400 + index, defect) for index, defect in enumerate(of_line)]
    for subfolder, seed, defect in photos:
        target = folder / subfolder / f"{seed:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(product.photo(seed, defect, size=SIZE).image).save(target)


def run(folder: Path, kinds: Sequence[str] = (*HELD_OUT_KINDS, SURFACE)) -> list[Trial]:
    """Draw the products, try each of them, and write one sheet with all results, `sheet.html`.

    Args:
        folder: The folder to write to, with a folder for each product.
        kinds: The kinds of drawn parts and surfaces.

    Returns:
        The results of each product, in the order of the kinds.

    Raises:
        FileError: The sheet cannot be written.
        EngineError, BackendError: The engine that ships with goodparts cannot be used.
    """
    folders = [folder / kind for kind in kinds]
    with ProcessPoolExecutor() as pool:
        list(pool.map(draw, folders, kinds))
    engine = Engine.open()
    trials = []
    for product, kind in zip(folders, kinds, strict=True):
        line, bad_examples = [product / "line"], [product / "bad_examples"]
        trials.append(try_product(product, kind, engine=engine, unlabelled=line, bad_examples=bad_examples))
    write_atomic(folder / "sheet.html", to_html(trials).encode())
    return trials


def main() -> None:
    """Run the demo in the folder that the options name, and print the results."""
    parser = argparse.ArgumentParser(description="The whole job on drawn parts.")
    parser.add_argument(
        "--out", type=Path, default=Path("build/demo"), metavar="DIR", help="folder to write to (default: %(default)s)"
    )
    folder = parser.parse_args().out.resolve()
    for trial in run(folder):
        print("\n".join(describe_trial(trial)))
    print(f"\nOpen {folder / 'sheet.html'} in a browser.")


if __name__ == "__main__":
    main()
