"""`train-and-export`: learn a recipe from a few photos of good parts, and make its engine if there is none.

Modules that need torch or onnx are imported where they are used, so that the command can print its help without them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from goodparts.runtime.commands.options import add_no_shots, add_rejection, add_view, read_view
from goodparts.runtime.commands.write_recipe import write_recipe
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.files import require_folder, require_folder_of
from goodparts.runtime.core.image_files import find_images
from goodparts.runtime.core.view import View
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.recipe.product import LearnedProduct, Product, compose_recipe
from goodparts.trainer.clip.names import DEFAULT_NAME
from goodparts.trainer.method import Preparation
from goodparts.trainer.registry import METHODS, default_method
from goodparts.trainer.settings import Protocol, RunOptions

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
    need.add_argument(
        "--product", metavar="TEXT", help='name of the product, such as "metal nut", which the prompts contain'
    )
    add_products(need)
    need.add_argument("--refine", type=Path, metavar="RECIPE",
                      help="learn from the photos in a recipe of `goodparts teach`, instead of --images")  # fmt: skip
    need.add_argument("--out", type=Path, required=True, metavar="FILE", help="the recipe to write (.safetensors)")
    need.add_argument("--shots", type=int, metavar="K", help="learn from the first K photos (default: all)")
    need.add_argument("--suffixes", default=None, metavar="WHAT",
                      help="what can be wrong with the product: generic (default), a benchmark object's list by name, "
                           "or a text file with one defect per line")  # fmt: skip
    add_view(parser.add_argument_group("where to look"))
    add_rejection(parser.add_argument_group("when to reject"))
    engine = parser.add_argument_group("backbone and engine")
    engine.add_argument("--engine", type=Path, metavar="DIR",
                        help="engine folder, made if it does not exist (default: the one that ships with goodparts, "
                             f"which is for {DEFAULT_NAME}; with another backbone: engine)")  # fmt: skip
    add_check_argument(engine)
    add_backbone_arguments(engine)
    engine.add_argument("--device", default="cpu", metavar="cpu|cuda", help="where to train (default cpu)")
    how = parser.add_argument_group("how to learn")
    how.add_argument("--method", choices=list(METHODS),
                     help="promptad (default), anople, a reconstruction (docs/anople.md), or memory, which learns no "
                          "prompts (default with a timm: backbone)")  # fmt: skip
    how.add_argument("--protocol", choices=get_args(Protocol), default="clean",
                     help="clean (default), or official: reproduce the released code")  # fmt: skip
    how.add_argument("--seed", type=int, default=0, metavar="N", help="seed of every random choice (default 0)")
    add_no_shots(how)
    how.add_argument("--textures", type=Path, metavar="DIR",
                     help="pictures that AnoPLe fills its painted defects with, such as DTD's (default: drawn textures "
                          "and pieces of the shots)")  # fmt: skip
    how.add_argument("--resume", type=Path, metavar="FILE",
                     help="AnoPLe: the file in which the state of learning is saved; if a command is killed, the next "
                          "continues from it; removed when the recipes are written")  # fmt: skip
    add_settings(parser)


def read_run_options(args: argparse.Namespace) -> RunOptions:
    """Return the options of the whole run.

    Args:
        args: The command's options.

    Raises:
        SettingsError: A value is not accepted, or an option belongs to another method.
        FileError: A texture or the folder of the checkpoint does not exist.
    """
    for option in ("textures", "resume"):
        owners = [name for name, method in METHODS.items() if option in method.run_options]
        if getattr(args, option) is not None and args.method not in owners:
            raise SettingsError(f"--{option} is an option of --method {' or '.join(owners)} only: leave it out")
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

    Errors in options, photos and prompts are found before the engine is exported.

    Args:
        args: The command's options.

    Returns:
        The exit code.
    """
    if args.engine is None:
        args.engine = SHIPPED if args.backbone == DEFAULT_NAME else Path("engine")
    if not args.engine.exists():
        require_folder(args.engine.absolute().parent)
    args.method = args.method or default_method(args.backbone)
    requests = read_product_requests(args)
    method = read_method(args)
    options = read_run_options(args)
    wordings = [method.word(request.text, args.suffixes, args.protocol) for request in requests]
    view = choose_view(args, requests)
    backbone = open_backbone(args, args.device)
    encoder = method.prompted_encoder(backbone)
    sides = method.shot_sides(backbone.encoder.image_size)
    products = [
        Product(text, suffixes, view, request.load(view, sides))
        for request, (text, suffixes) in zip(requests, wordings, strict=True)
    ]
    groups = [products] if method.learns_together else [[product] for product in products]
    preparations = [method.prepare(backbone, group, options) for group in groups]
    graph = provide_graph(args, backbone, view, encoder)
    for request, learned in zip(requests, learn(preparations), strict=True):
        recipe = compose_recipe(backbone.encoder, learned, graph, options)
        write_recipe(args, recipe, learned.encode, request.recipe_file, next(iter(request.photos), None))
    if options.resume is not None:
        options.resume.unlink(missing_ok=True)
    return 0


def choose_view(args: argparse.Namespace, requests: Sequence[ProductRequest]) -> View:
    """Return the view that the options describe, or the view of the recipe that is refined.

    Args:
        args: The command's options.
        requests: The products to learn.

    Raises:
        SettingsError: The options describe a view, but a recipe is refined.
    """
    view = read_view(args)
    for request in requests:
        if request.refined is not None:
            if view != View():
                raise SettingsError(
                    "--refine uses the recipe's view: leave --roi, --mask, --tiles, --overlap and --resize out"
                )
            return request.refined.header.view
    return view


def provide_graph(args: argparse.Namespace, backbone: Backbone, view: View, encoder: ConditionedEncoder | None) -> str:
    """Make the engine or its prompted graph if it is missing, and return the id of the graph that the recipes are for.

    Args:
        args: The command's options.
        backbone: The backbone of the engine.
        view: Which part of the labelled photos is inspected.
        encoder: The encoder of the prompted graph; None if the recipes need the plain graph.

    Returns:
        The graph's id.

    Raises:
        SettingsError: --check-on is given, but the engine exists already.
        EngineError: The folder holds another engine, or something that is no engine.
        ParityError: The exported graph is too far from torch.
    """
    from .engines import find_engine, make_engine
    from .labelled import LabelledPhotos
    from .prompted import add_prompted

    spec = find_engine(backbone, args.engine)
    if spec is not None and args.check_on is not None:
        raise SettingsError(f"--check-on: {args.engine} exists already; name another folder with --engine to make one")
    if spec is None:
        labelled = None if args.check_on is None else LabelledPhotos.open(args.check_on, backbone, view)
        spec = make_engine(backbone, args.engine, labelled=labelled)
    if encoder is None:
        return spec.graph_id("plain", "fp32")
    return add_prompted(args.engine, backbone, encoder).graph_id("prompted", "fp32")


def learn(preparations: Iterable[Preparation]) -> Iterator[LearnedProduct]:
    """Learn the prepared products one after the other, and yield each when it is learned.

    Args:
        preparations: The prepared products; the products of one preparation are learned together.

    Yields:
        The learned products.
    """
    for preparation in preparations:
        texts = ", ".join(product.text for product in preparation.products)
        yield from preparation.learn(partial(show_progress, texts))


def show_progress(texts: str, steps: range) -> Iterable[int]:
    """Yield the steps, and show a bar with the products' names and the number of finished steps.

    Args:
        texts: The products' names, for the bar.
        steps: The steps of learning.
    """
    from tqdm import tqdm

    bar: Iterable[int] = tqdm(steps, desc=f"learning {texts}", unit="step", disable=None)
    return bar
