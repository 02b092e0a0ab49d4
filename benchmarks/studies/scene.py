"""Measures how often a changed scene is found, and how often a change is reported although only the part has changed.

Each product is learned from a few good photos. Photos of other good and bad parts show the same scene. Good photos with
the effect of a fault of the camera, the lamp or the lens show another scene. A texture looks the same after it has
moved, so shifts are tested on drawn objects only.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from goodparts.drawn.parts import KINDS, SURFACES, TEXTURES
from goodparts.evaluation.report.report import Findings
from goodparts.evaluation.report.tables import Table
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scene import measure_scene
from goodparts.runtime.core.scoring import Learned, memory_scores
from goodparts.runtime.recipe.memory import fit_memory
from goodparts.trainer.clip.backbone import Backbone
from PIL import Image, ImageFilter

from .. import options
from .products import MeasuredProduct, draw_product, find_products, load_product

log = logging.getLogger(__name__)

LINE = 3000
"""The seed of the drawn products."""
GOOD, BAD = 20, 20
"""The numbers of photos of a drawn product to test with."""
CHANGED = 4
"""The number of good photos of each product to which every change is made."""
OBJECTS = [kind for kind in KINDS if kind not in TEXTURES]
FALSE_ALARMS = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", default="small", metavar="NAME", help="the backbone (default: %(default)s)")
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help="a folder with folders in MVTec's layout, in addition to drawn parts"
    )
    parser.add_argument(
        "--shots", type=options.positive_integer, default=4, metavar="K", help="photos to learn from (default: 4)"
    )


def measure(*, backbone: str, data: Path | None, shots: int) -> Findings:
    findings, opened = Findings(), Backbone.open(backbone)
    size, rows = opened.encoder.image_size, []
    for name, products in gather(data, size, shots):
        log.info("%s", name)
        alarms: dict[str, list[bool]] = {}
        for product in products:
            for kind, found in find_changes(product, opened, shots).items():
                alarms.setdefault(kind, []).extend(found)
        shares = {kind: float(np.mean(found)) for kind, found in alarms.items() if found}
        for kind, share in shares.items():
            findings.add(f"{name}, {kind}: reported as another scene", share, "share")
        findings.aim(f"{name}, good parts: reported", shares["good"], FALSE_ALARMS, "share")
        rows.append(
            [name, *(f"{100 * shares[kind]:.1f}" if kind in shares else "–" for kind in ("good", "bad", *CHANGES))]
        )
    findings.tables.append(Table("Pictures reported as another scene, %", ["set", "good", "bad", *CHANGES], rows))
    return findings


def gather(data: Path | None, size: int, shots: int) -> Iterator[tuple[str, Iterator[MeasuredProduct]]]:
    """Yield the sets of products: drawn objects, drawn textures and surfaces, and each folder of real photos.

    Args:
        data: A folder with folders of real photos in MVTec's layout; None for no real photos.
        size: The side of the square that the encoder reads, in pixels.
        shots: The number of photos of a drawn product to learn from.

    Yields:
        The name of each set, and its products.

    Raises:
        SettingsError: The folder of real photos holds no category.
        FileError: A photo or a folder of the layout is missing or cannot be read.
        ImageError: A photo is damaged, or a bad photo does not have exactly one mask that fits.
    """
    for name, kinds in (("drawn objects", OBJECTS), ("drawn textures", [*TEXTURES, *SURFACES])):
        yield name, (draw_product(kind, LINE, size, pool=shots, good=GOOD, bad=BAD) for kind in kinds)
    for folder in [] if data is None else find_products(data):
        yield folder.name, iter([load_product(folder, size)])


def find_changes(product: MeasuredProduct, backbone: Backbone, shots: int) -> dict[str, list[bool]]:
    """Return whether another scene is reported for each picture, by what the picture shows.

    The keys are "good", "bad" and the names of CHANGES. The changes are made to CHANGED good parts. Shifts are left out
    for other products than drawn objects.

    Args:
        product: The product, whose tests are judged.
        backbone: The backbone that encodes its pictures.
        shots: The number of photos of the pool to learn from.
    """
    encoder = backbone.encoder
    prompts = np.zeros((2, encoder.width), np.float32)
    nothing = Learned(prompts, prompts, (), 1.0, "grid", fusion="memory")
    views = product.pool[:shots]
    memory = fit_memory(nothing, backbone.encode(views), views, 1, backbone.encode)
    banks = tuple(bank.astype(np.float32) for bank in memory.banks)

    def is_another(view: Array8) -> bool:
        features = backbone.encode(view[None])
        grid = memory_scores(features.memory, banks).reshape(1, *features.grid)
        return memory.scene.judge(measure_scene(view[None], grid)) is not None

    good, bad = product.tests[~product.bad], product.tests[product.bad]
    found = {"good": [is_another(view) for view in good], "bad": [is_another(view) for view in bad]}
    for name, change in CHANGES.items():
        if product.text in OBJECTS or name not in SHIFTS:
            found[name] = [is_another(change(view)) for view in good[:CHANGED]]
    return found


def _shift(view: Array8, share: float) -> Array8:
    """Move a picture to the right and down. Mirror it into the area that becomes free."""
    by = round(share * len(view) / 2**0.5)
    return np.pad(view, ((by, 0), (by, 0), (0, 0)), mode="symmetric")[: len(view), : len(view)]


def _blur(view: Array8, sigma: float) -> Array8:
    return np.asarray(Image.fromarray(view).filter(ImageFilter.GaussianBlur(sigma * len(view) / 240)))


def _ground(view: Array8) -> Array8:
    """Return the colour of a picture's border with a camera's noise, which looks like the station without its part."""
    border = np.concatenate([view[:8].reshape(-1, 3), view[-8:].reshape(-1, 3)])
    noise = np.random.default_rng(0).normal(0.0, 4.0, view.shape)
    return np.asarray(np.clip(np.median(border, axis=0) + noise, 0, 255), np.uint8)


SHIFTS: Mapping[str, Callable[[Array8], Array8]] = {
    "shift 10 %": lambda view: _shift(view, 0.10),
    "shift 25 %": lambda view: _shift(view, 0.25),
}
CHANGES: Mapping[str, Callable[[Array8], Array8]] = {
    **SHIFTS,
    "half the light": lambda view: view // 2,
    "blur 2 px": lambda view: _blur(view, 2.0),
    "blur 4 px": lambda view: _blur(view, 4.0),
    "flat grey": lambda view: np.full_like(view, 128),
    "ground only": _ground,
    "lens cap": lambda view: np.full_like(view, 3),
    "overexposed": lambda view: np.full_like(view, 255),
}
"""The changes of a picture. Blurs are in pixels of a picture with a side of 240 pixels."""
