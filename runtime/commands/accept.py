"""`goodparts accept`: adds photos of good parts to a recipe after it has shown the effect; --undo takes them back."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..core.errors import GoodpartsError, SettingsError
from ..core.files import printable, require_folder_of
from ..core.image_files import find_images
from ..core.view import Box, View, read_mask
from ..describe import describe_accepts, describe_change
from ..engine.engine import Engine
from ..engine.shipped import SHIPPED
from ..engine.spec import read_spec
from ..line.outputs.rejects import find_frames
from ..recipe.accept import Change, Photo, apply, preview, undo
from ..recipe.recipe import Recipe
from ..recipe.signing import Signer
from .options import add_backend, add_engine, add_key, add_recipe, add_region, add_renamed
from .printing import ask, print_lines

MOST_REJECTS = 100
"""At most this many of the newest past rejects are scored again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="pictures of good parts, or folders")
    add_recipe(parser)
    add_engine(parser, default=None, help="engine folder of the line; give its --backend and --precision too")
    add_backend(parser)
    parser.add_argument("--rejects", type=Path, metavar="DIR",
                        help="folder of rejects that watch kept, or of photos: lists those that turn good")  # fmt: skip
    parser.add_argument("--source", metavar="NAME", help="score only the rejects of this source again")
    parser.add_argument("--max-rows", type=int, metavar="N",
                        help="most rows in a memory from now on; the least novel ones are left out first")  # fmt: skip
    parser.add_argument("--undo", nargs="?", const="", metavar="WHICH",
                        help="take back the last accept, or the one with this number, or with a photo of this name "
                             "or SHA-256")  # fmt: skip
    parser.add_argument("--history", action="store_true", help="list what was accepted")
    add_region(parser, roi_help="region of the photos' source, if the source has its own",
               mask_help="mask of the photos' source, if the source has its own")  # fmt: skip
    add_key(parser)
    parser.add_argument("--take", action="store_true", help="write the change without asking")
    add_renamed(parser, "--yes", "--take")


def run(args: argparse.Namespace) -> int:
    recipe = Recipe.open(args.recipe)
    if args.history:
        print_lines(describe_accepts(recipe.header) or ["nothing was accepted"])
        return 0
    require_folder_of(args.recipe)
    signer = None if args.key is None else Signer.read(args.key)
    if args.take:
        recipe.check_key(signer)
    change = _propose(args, recipe)
    print_lines(describe_change(args.recipe, change))
    if not (args.take or ask("write it?")):
        print("nothing was changed: --take writes the change")
        return 0
    start = time.perf_counter()
    apply(change, args.recipe, signer)
    print(f"written in {(time.perf_counter() - start) * 1e3:.0f} ms; a running watch takes it within a second")
    return 0


def _propose(args: argparse.Namespace, recipe: Recipe) -> Change:
    """Return the change that accepting the photos, or --undo, would make."""
    photos = [Photo.read(path) for path in find_images(args.photos)]
    if args.undo is not None and photos:
        raise SettingsError(f"--undo takes photos back: accept {photos[0].name} in a call of its own")
    if args.undo is None and not photos:
        raise SettingsError("no photo to accept: give at least one")
    engine, folder = None, args.engine
    if folder is None and recipe.header.encoder == read_spec(SHIPPED).encoder:
        folder = SHIPPED
    if folder is not None:
        engine = Engine.open(folder, backend=args.backend, precision=args.precision, verify=True)
    view = _view(args, recipe.header.view)
    if args.undo is not None:
        return undo(recipe, engine, args.undo or None, _read_rejects(args, view, set()), view)
    if engine is None:
        raise SettingsError("--engine DIR is needed, so that the photos are scored as on the line")
    rejects = _read_rejects(args, view, {photo.sha256 for photo in photos})
    return preview(recipe, engine, photos, rejects, args.max_rows, view)


def _view(args: argparse.Namespace, view: View) -> View:
    """Return the recipe's view, with the region and mask of the photos' source."""
    if args.roi is not None:
        view = msgspec.structs.replace(view, roi=Box.parse(args.roi))
    if args.mask is not None:
        view = msgspec.structs.replace(view, mask=read_mask(args.mask))
    return view


def _read_rejects(args: argparse.Namespace, view: View, accepted: set[str]) -> Iterator[Photo]:
    """Yield the newest rejects that are not among the accepted photos (SHA-256), one at a time.

    A picture that cannot be read, or that does not fit the view, is reported and skipped.
    """
    if args.rejects is None:
        return
    paths = find_frames(args.rejects, args.source) or ([] if args.source else find_images([args.rejects]))
    for path in paths[-MOST_REJECTS:]:
        try:
            photo = Photo.read(path)
            view.check(photo.pixels.shape[0], photo.pixels.shape[1], printable(path))
        except GoodpartsError as error:
            print_lines([f"goodparts: {error}"], sys.stderr)
            continue
        if photo.sha256 not in accepted:
            yield photo
