"""The last step of every command that learns: it sets the thresholds, writes the recipe and prints what to expect."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
from pathlib import Path

import msgspec

from ..core.errors import RecipeError
from ..core.files import printable, read_bytes, write_atomic
from ..core.preprocess import load_rgb
from ..core.view import View
from ..describe import describe_learned, describe_seen
from ..recipe.calibrate import Encode
from ..recipe.recalibrate import recalibrate
from ..recipe.recipe import Recipe
from .printing import print_lines


def write_recipe(args: argparse.Namespace, recipe: Recipe, encode: Encode, out: Path, photo: Path | None) -> None:
    """Set a learned recipe's thresholds by the photos that the options name, write it, and print what to expect.

    Args:
        args: The command's options, those of `add_rejection` and `add_no_shots` among them.
        recipe: The recipe, calibrated on its shots.
        encode: Encodes views with the recipe's graph.
        out: The file that the recipe is written to.
        photo: One of the shots, whose size tells how small a defect may be; None if no photo is at hand.
    """
    recalibration = recalibrate(recipe, encode, args.good, args.bad, recipe.header.false_reject_rate)
    recipe = recalibration.recipe
    if args.review not in (None, "off"):
        recipe = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, review=args.review))
    if args.no_shots:
        recipe = dataclasses.replace(recipe, shots=None)
    former = keep_former(out, recipe.to_bytes())
    recipe.save(out)
    patch = [] if photo is None else [_describe_patch(photo, recipe.header.view, recipe.header.encoder.grid)]
    told = describe_seen(out, recalibration, recipe.header.thresholds)
    print_lines([*describe_learned(out, recipe), *patch, *told, f"  goodparts show {out} prints the details.", *former])


def keep_former(out: Path, new: bytes) -> list[str]:
    """Keep the recipe that is about to be replaced, as a file beside it.

    An earlier backup stays, and is not made again if it has the same bytes.

    Args:
        out: The file that is about to be replaced.
        new: The bytes that replace it.

    Returns:
        A line that tells where the recipe is kept; none if nothing is lost.

    Raises:
        FileError: The recipe cannot be read or kept.
    """
    if not out.is_file() or (data := read_bytes(out)) in (b"", new):
        return []
    names = itertools.chain([f"{out.name}.bak"], (f"{out.name}.bak{number}" for number in itertools.count(2)))
    former = next(path for path in map(out.with_name, names) if not os.path.lexists(path) or _holds(path, data))
    write_atomic(former, data)
    try:
        product = f" for {Recipe.from_bytes(data).header.product!r}"
    except RecipeError:  # a damaged recipe is kept too
        product = ""
    return [f"  It replaces a recipe{product}, which is now {printable(former)}."]


def _holds(path: Path, data: bytes) -> bool:
    """Return whether a regular file holds exactly these bytes; False if it cannot be read."""
    try:
        return path.is_file() and path.read_bytes() == data
    except OSError:
        return False


def _describe_patch(photo: Path, view: View, grid: tuple[int, int]) -> str:
    """Return a line that tells how small a defect may be, given a photo and the rows and columns of patches."""
    shape = load_rgb(photo).shape
    height, width = view.patch(shape[0], shape[1], grid)
    name, advice = printable(Path(photo.name)), "--tiles" if view.count == 1 else "more --tiles"
    return f"  A patch covers {width:.0f}×{height:.0f} pixels of {name}. For much smaller defects give {advice}."
