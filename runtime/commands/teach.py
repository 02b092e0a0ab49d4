"""`goodparts teach`: learns a product from a few photos of good parts, without torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.outputs import require_output
from ..engine.engine import Engine
from ..recipe.shots import choose_shots
from ..recipe.teach import teach
from .options import (
    add_backend,
    add_engine,
    add_memory,
    add_no_shots,
    add_rejection,
    add_threads,
    add_view,
    read_view,
)
from .write_recipe import write_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    need = parser.add_argument_group("what to learn")
    need.add_argument("--images", type=Path, nargs="+", required=True, metavar="PATH",
                      help="photos of good parts, or folders of them")  # fmt: skip
    need.add_argument(
        "--product", required=True, metavar="TEXT", help='name of the product, a label such as "metal nut"'
    )
    need.add_argument("--out", type=Path, required=True, metavar="FILE", help="the recipe to write (.safetensors)")
    need.add_argument("--shots", type=int, metavar="K", help="learn from the first K photos (default: all)")
    add_no_shots(need)
    add_memory(need)
    add_view(parser.add_argument_group("where to look"))
    add_rejection(parser.add_argument_group("when to reject"))
    engine = parser.add_argument_group("engine")
    add_engine(engine)
    add_backend(engine)
    add_threads(engine)


def run(args: argparse.Namespace) -> int:
    require_output(args.out, "recipe")
    view = read_view(args)
    photos = choose_shots(args.images, args.shots)
    engine = Engine.open(args.engine, backend=args.backend, precision=args.precision, threads=args.threads, verify=True)
    recipe = teach(
        photos, args.product, engine=engine, view=view, false_reject_rate=args.false_reject_rate,
        poses=args.poses, memory_share=args.memory_share,
    )  # fmt: skip
    write_recipe(args, recipe, engine.encode, args.out, photos[0])
    return 0
