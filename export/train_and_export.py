"""`train-and-export`: a few photos of good parts in, a recipe out, and the engine to run it if there is none."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from goodparts.runtime.commands.calibrate import add_simulate, recalibrated
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.files import printable, require_folder_of
from goodparts.runtime.core.image_files import find_images
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.core.view import Box, View, read_mask
from goodparts.runtime.describe import describe_recipe
from goodparts.runtime.recipe.calibrate import FALSE_REJECT_RATE
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.anople import settings as anople
from goodparts.trainer.anople.encoder import PromptedEncoder
from goodparts.trainer.anople.learner import AnoPLeLearner, Subject
from goodparts.trainer.anople.product import compose
from goodparts.trainer.product import Order, learn_product, load_shots
from goodparts.trainer.promptad import learner as promptad
from goodparts.trainer.promptad import suffixes
from tqdm import tqdm

from .command import add_backbone_arguments, add_check_argument, open_backbone
from .engines import find_engine, make_engine
from .labelled import LabelledPhotos
from .method_options import METHODS, add_settings, read_settings
from .products import add_products, read_tasks
from .prompted import add_prompted


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
    view.add_argument("--roi", metavar="X,Y,W,H", help="region of interest in frame pixels (default: the whole frame)")
    view.add_argument("--mask", type=Path, metavar="FILE",
                      help="a picture of the frame's size, white where to look, black elsewhere")  # fmt: skip
    view.add_argument("--tiles", metavar="RxC", default="1x1",
                      help="cut the region into rows x columns, for small defects (default 1x1)")  # fmt: skip
    view.add_argument("--overlap", type=float, default=0.1, metavar="F",
                      help="what neighbouring tiles share, as a part of their side (default 0.1)")  # fmt: skip
    view.add_argument("--resize", choices=["squash", "letterbox"], default="squash",
                      help="fill the encoder's square, or keep the aspect ratio (default squash)")  # fmt: skip
    when = parser.add_argument_group("when to reject")
    when.add_argument("--false-reject-rate", type=float, default=FALSE_REJECT_RATE, metavar="P",
                      help=f"share of good parts that may be rejected (default {FALSE_REJECT_RATE})")  # fmt: skip
    when.add_argument("--calibrate-on", type=Path, nargs="+", default=[], metavar="PATH",
                      help="further good photos, to set the thresholds by; 20 to 50 make them sound")  # fmt: skip
    when.add_argument("--bad", type=Path, nargs="+", default=[], metavar="PATH",
                      help="bad photos: shows how far off they are and proposes a threshold")  # fmt: skip
    add_simulate(when)
    engine = parser.add_argument_group("backbone and engine")
    engine.add_argument("--engine", type=Path, default=Path("engine"), metavar="DIR",
                        help="engine folder, made if it is not there (default: engine)")  # fmt: skip
    add_check_argument(engine)  # type: ignore[arg-type]
    add_backbone_arguments(engine)  # type: ignore[arg-type]
    engine.add_argument("--device", default="cpu", metavar="cpu|cuda", help="where to train (default cpu)")
    how = parser.add_argument_group("how to learn")
    how.add_argument("--method", choices=METHODS, default="promptad",
                     help="promptad (default), or anople, a reconstruction (docs/anople.md)")  # fmt: skip
    how.add_argument("--protocol", choices=list(promptad.PROTOCOLS), default="clean",
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
    """The view that --roi, --mask, --tiles, --overlap and --resize describe."""
    roi = None if args.roi is None else Box.parse(args.roi)
    try:
        rows, columns = (int(part) for part in args.tiles.lower().split("x"))
    except ValueError:
        raise SettingsError(f"--tiles {args.tiles}: give rows x columns, as in 2x3") from None
    mask = None if args.mask is None else read_mask(args.mask)
    return View(roi=roi, mask=mask, resize=args.resize, tiles=(rows, columns), overlap=args.overlap)


def read_order(args: argparse.Namespace, text: str) -> Order:
    """Everything that can be wrong with the options is found here, before anything slow begins."""
    if not 0.0 < args.false_reject_rate < 0.5:
        raise SettingsError(f"--false-reject-rate {args.false_reject_rate}: between 0 and 0.5, as in 0.01")
    if not 0 <= args.seed < 2**63:
        raise SettingsError(f"--seed {args.seed}: a whole number from 0 to 2^63−1")
    settings = read_settings(args)
    for option in ("textures", "resume"):
        if getattr(args, option) is not None and args.method != "anople":
            raise SettingsError(f"--{option} is of --method anople: leave it out")
    if args.resume is not None:
        require_folder_of(args.resume)
    if args.suffixes is not None and args.method == "anople":
        raise SettingsError("--suffixes: AnoPLe knows no defects but those it paints, leave it out")
    choice = args.suffixes or "generic"
    known = suffixes.find_object(text) if args.protocol == "official" else None
    if known:
        # A benchmark object has a text and a list of its own (spec D20).
        text, choice = suffixes.OBJECT_NAMES.get(known, known), args.suffixes or known
    return Order(
        text=text,
        view=read_view(args),
        suffixes=suffixes.resolve(choice),
        protocol=args.protocol,
        settings=settings,
        seed=args.seed,
        false_reject_rate=args.false_reject_rate,
    )


def run(args: argparse.Namespace) -> int:
    tasks = read_tasks(args)
    orders = [read_order(args, task.text) for task in tasks]
    backbone = open_backbone(args, args.device)
    # Whatever can be wrong with photos and prompts should not cost an export.
    loaded = [load_shots(task.photos, orders[0].view, backbone.encoder.image_size) for task in tasks]
    learner = None
    if isinstance(settings := orders[0].settings, anople.Settings):
        encoder = PromptedEncoder(backbone, settings)
        size = 2 * backbone.encoder.image_size
        subjects = [Subject(task.text, load_shots(task.photos, orders[0].view, size)[1]) for task in tasks]
        textures = () if args.textures is None else find_images([args.textures])
        learner = AnoPLeLearner(backbone, subjects, settings, args.seed, textures)
    else:
        for order in orders:
            promptad.lay_out(order.text, order.suffixes, settings, backbone.text.context_length)
    engine = find_engine(backbone, args.engine)
    if engine is not None and args.check_on is not None:
        raise SettingsError(f"--check-on: {args.engine} is made already; name another folder with --engine to make one")
    if engine is None:
        labelled = None if args.check_on is None else LabelledPhotos.open(args.check_on, backbone, orders[0].view)
        engine = make_engine(backbone, args.engine, labelled=labelled)
    graph = engine.graph_id("fp32")
    if learner is not None:
        graph = add_prompted(args.engine, backbone, encoder).of_prompted().graph_id("fp32")
        learner.learn(partial(show_progress, ", ".join(task.text for task in tasks)), args.resume)
    for at, (task, order, (shots, views)) in enumerate(zip(tasks, orders, loaded, strict=True)):
        if learner is None:
            encode = backbone.encode
            recipe = learn_product(backbone, order, shots, views, graph, partial(show_progress, order.text))
        else:
            encode = learner.encode
            recipe = compose(backbone, order, learner, shots, views, graph, at)
        recipe, lines = recalibrated(recipe, encode, args.calibrate_on, args.bad, args.false_reject_rate, args.simulate)
        if args.no_shots:
            recipe = dataclasses.replace(recipe, shots=None)
        recipe.save(task.out)
        described = describe_recipe(task.out, Recipe.open(task.out))
        print("\n".join([*described, describe_patch(task.photos[0], order.view, backbone.encoder.grid), *lines]))
    if args.resume is not None:
        args.resume.unlink(missing_ok=True)
    return 0


def describe_patch(photo: Path, view: View, grid: tuple[int, int]) -> str:
    """How small a defect may be."""
    shape = load_rgb(photo).shape
    height, width = view.patch(shape[0], shape[1], grid)
    name, wanted = printable(Path(photo.name)), "--tiles" if view.count == 1 else "more --tiles"
    return f"  a patch sees {width:.0f}×{height:.0f} pixels of {name}: for much smaller defects give {wanted}"


def show_progress(what: str, steps: range) -> Iterable[int]:
    bar: Iterable[int] = tqdm(steps, desc=f"learning {what}", unit="step", disable=None)
    return bar
