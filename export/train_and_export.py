"""`train-and-export`: a few photos of good parts in, a recipe out, and the engine to run it if there is none.

What needs torch and onnx is imported where it is used, so that the command has its help without them.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec
from goodparts.runtime.commands.options import (
    add_bad,
    add_false_reject_rate,
    add_region,
    add_review,
    add_simulate,
)
from goodparts.runtime.commands.printing import print_lines
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.files import printable, require_folder, require_folder_of
from goodparts.runtime.core.image_files import find_images
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.core.view import Box, View, read_mask
from goodparts.runtime.describe import describe_recalibration, describe_recipe
from goodparts.runtime.recipe.recalibrate import recalibrate
from goodparts.trainer.method import Preparation
from goodparts.trainer.product import LearnedProduct, Product, RunOptions, compose_recipe
from goodparts.trainer.registry import METHODS
from goodparts.trainer.settings import Protocol
from goodparts.trainer.shots import load_shots

from .method_options import add_settings, read_method
from .options import add_backbone_arguments, add_check_argument, open_backbone
from .products import ProductRequest, add_products, read_product_requests

if TYPE_CHECKING:
    from goodparts.trainer.clip.backbone import Backbone
    from goodparts.trainer.conditioned_encoder import ConditionedEncoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    need = parser.add_argument_group("what to learn")
    need.add_argument("--images", type=Path, nargs="+", metavar="PATH",
                      help="photos of good parts, or folders of them")  # fmt: skip
    need.add_argument("--product", metavar="TEXT", help='what it is, in words: "metal nut"')
    add_products(need)
    need.add_argument("--out", type=Path, required=True, metavar="FILE", help="the recipe to write (.safetensors)")
    need.add_argument("--shots", type=int, metavar="K", help="learn from the first K photos (default: all)")
    need.add_argument("--suffixes", default=None, metavar="WHAT",
                      help="what can be wrong with it: generic, a benchmark object's list by name, "
                           "or a text file with one defect a line")  # fmt: skip
    view = parser.add_argument_group("where to look")
    add_region(view, roi_help="region of interest in frame pixels (default: the whole frame)",
               mask_help="a picture of the frame's size, white where to look, black elsewhere")  # fmt: skip
    view.add_argument("--tiles", metavar="RxC", default="1x1",
                      help="cut the region into rows x columns, for small defects (default 1x1)")  # fmt: skip
    view.add_argument("--overlap", type=float, default=0.1, metavar="F",
                      help="what neighbouring tiles share, as a part of their side (default 0.1)")  # fmt: skip
    view.add_argument("--resize", choices=["squash", "letterbox"], default="squash",
                      help="fill the encoder's square, or keep the aspect ratio (default squash)")  # fmt: skip
    when = parser.add_argument_group("when to reject")
    add_false_reject_rate(when)
    when.add_argument("--calibrate-on", type=Path, nargs="+", default=[], metavar="PATH",
                      help="further good photos, to set the thresholds by; 20 to 50 make them sound")  # fmt: skip
    add_bad(when)
    add_simulate(when)
    add_review(when, help="parts from this score on that are not rejected get the verdict review, as in 0.8 "
                          "(default: off)")  # fmt: skip
    engine = parser.add_argument_group("backbone and engine")
    engine.add_argument("--engine", type=Path, default=Path("engine"), metavar="DIR",
                        help="engine folder, made if it is not there (default: engine)")  # fmt: skip
    add_check_argument(engine)
    add_backbone_arguments(engine)
    engine.add_argument("--device", default="cpu", metavar="cpu|cuda", help="where to train (default cpu)")
    how = parser.add_argument_group("how to learn")
    how.add_argument("--method", choices=list(METHODS), default="promptad",
                     help="promptad (default), or anople, a reconstruction (docs/anople.md)")  # fmt: skip
    how.add_argument("--protocol", choices=get_args(Protocol), default="clean",
                     help="clean (default), or official: reproduce the released code")  # fmt: skip
    how.add_argument("--seed", type=int, default=0, metavar="N")
    how.add_argument("--no-shots", action="store_true",
                     help="leave the shots out of the recipe; it then fits this engine's graph alone")  # fmt: skip
    how.add_argument("--textures", type=Path, metavar="DIR",
                     help="pictures that AnoPLe fills its painted defects with, such as DTD's (default: drawn textures "
                          "and pieces of the shots)")  # fmt: skip
    how.add_argument("--resume", type=Path, metavar="FILE",
                     help="AnoPLe: where learning stands is kept here, and a command that was killed goes on from "
                          "it; removed once recipes are written")  # fmt: skip
    add_settings(parser)


def read_view(args: argparse.Namespace) -> View:
    """Return the view that --roi, --mask, --tiles, --overlap and --resize describe."""
    roi = None if args.roi is None else Box.parse(args.roi)
    try:
        rows, columns = (int(count) for count in args.tiles.lower().split("x"))
    except ValueError:
        raise SettingsError(f"--tiles {args.tiles}: give rows x columns, as in 2x3") from None
    mask = None if args.mask is None else read_mask(args.mask)
    return View(roi=roi, mask=mask, resize=args.resize, tiles=(rows, columns), overlap=args.overlap)


def read_run_options(args: argparse.Namespace) -> RunOptions:
    """Return the options of the whole run.

    Raises:
        SettingsError: A value is not accepted, or an option is of another method.
        FileError: A texture or the folder of the checkpoint does not exist.
    """
    if not 0.0 < args.false_reject_rate < 0.5:
        raise SettingsError(f"--false-reject-rate {args.false_reject_rate}: between 0 and 0.5, as in 0.01")
    if not 0 <= args.seed < 2**63:
        raise SettingsError(f"--seed {args.seed}: a whole number from 0 to 2^63−1")
    for option in ("textures", "resume"):
        owners = [name for name, method in METHODS.items() if option in method.run_options]
        if getattr(args, option) is not None and args.method not in owners:
            raise SettingsError(f"--{option} is of --method {' or '.join(owners)}: leave it out")
    if args.resume is not None:
        require_folder_of(args.resume)
    return RunOptions(
        seed=args.seed,
        protocol=args.protocol,
        false_reject_rate=args.false_reject_rate,
        textures=() if args.textures is None else find_images([args.textures]),
        resume=args.resume,
    )


def run(args: argparse.Namespace) -> int:
    """Learn the products that the options name, write their recipes, and make the engine if there is none.

    Whatever can be wrong with options, photos and prompts is found before the engine is exported.
    """
    if not args.engine.exists():
        require_folder(args.engine.absolute().parent)
    requests = read_product_requests(args)
    method = read_method(args)
    options = read_run_options(args)
    wordings = [method.word(request.text, args.suffixes, args.protocol) for request in requests]
    view = read_view(args)
    backbone = open_backbone(args, args.device)
    encoder = method.prompted_encoder(backbone)
    sides = method.shot_sides(backbone.encoder.image_size)
    products = [
        Product(text, suffixes, view, load_shots(request.photos, view, sides))
        for request, (text, suffixes) in zip(requests, wordings, strict=True)
    ]
    groups = [products] if method.learns_together else [[product] for product in products]
    preparations = [method.prepare(backbone, group, options) for group in groups]
    graph = provide_graph(args, backbone, view, encoder)
    for request, learned in zip(requests, learn(preparations), strict=True):
        write_recipe(args, backbone, request, learned, graph, options)
    if options.resume is not None:
        options.resume.unlink(missing_ok=True)
    return 0


def provide_graph(args: argparse.Namespace, backbone: Backbone, view: View, encoder: ConditionedEncoder | None) -> str:
    """Make the engine or its prompted graph where it is missing, and return the id of the graph that recipes are for.

    Args:
        args: The command's options.
        backbone: The backbone of the engine.
        view: Which part of the labelled photos is looked at.
        encoder: The encoder of the prompted graph, or None where the recipes need the plain graph.

    Raises:
        SettingsError: --check-on is given, but the engine is made already.
        EngineError: Another engine is in the way.
        ParityError: The export is too far from torch.
    """
    from .engines import find_engine, make_engine
    from .labelled import LabelledPhotos
    from .prompted import add_prompted

    spec = find_engine(backbone, args.engine)
    if spec is not None and args.check_on is not None:
        raise SettingsError(f"--check-on: {args.engine} is made already; name another folder with --engine to make one")
    if spec is None:
        labelled = None if args.check_on is None else LabelledPhotos.open(args.check_on, backbone, view)
        spec = make_engine(backbone, args.engine, labelled=labelled)
    if encoder is None:
        return spec.graph_id("plain", "fp32")
    return add_prompted(args.engine, backbone, encoder).graph_id("prompted", "fp32")


def learn(preparations: Iterable[Preparation]) -> Iterator[LearnedProduct]:
    """Learn what was prepared, one after the other, and yield each product once it is learned."""
    for preparation in preparations:
        texts = ", ".join(product.text for product in preparation.products)
        yield from preparation.learn(partial(show_progress, texts))


def write_recipe(
    args: argparse.Namespace,
    backbone: Backbone,
    request: ProductRequest,
    learned: LearnedProduct,
    graph: str,
    options: RunOptions,
) -> None:
    """Calibrate a learned product on the photos that the options name, write its recipe, and print what it is."""
    recalibration = recalibrate(
        compose_recipe(backbone, learned, graph, options),
        learned.encode, args.calibrate_on, args.bad, options.false_reject_rate, args.simulate,
    )  # fmt: skip
    recipe = recalibration.recipe
    if args.review not in (None, "off"):
        recipe = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, review=args.review))
    if args.no_shots:
        recipe = dataclasses.replace(recipe, shots=None)
    recipe.save(request.recipe_file)
    patch = describe_patch(request.photos[0], learned.product.view, backbone.encoder.grid)
    described = describe_recipe(request.recipe_file, recipe)
    print_lines([*described, patch, *describe_recalibration(recalibration)])


def describe_patch(photo: Path, view: View, grid: tuple[int, int]) -> str:
    """Return a line that says how small a defect may be, given a photo and the rows and columns of patches."""
    shape = load_rgb(photo).shape
    height, width = view.patch(shape[0], shape[1], grid)
    name, advice = printable(Path(photo.name)), "--tiles" if view.count == 1 else "more --tiles"
    return f"  a patch sees {width:.0f}×{height:.0f} pixels of {name}: for much smaller defects give {advice}"


def show_progress(texts: str, steps: range) -> Iterable[int]:
    """Yield the steps, with a bar that names the products and shows how many steps are done."""
    from tqdm import tqdm

    bar: Iterable[int] = tqdm(steps, desc=f"learning {texts}", unit="step", disable=None)
    return bar
