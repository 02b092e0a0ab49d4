"""`goodparts show`: describes recipes and engines."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.errors import FileError
from ..core.files import printable
from ..describe import describe_engine, describe_recipe
from ..engine.shipped import SHIPPED
from ..engine.spec import read_spec, verify_files
from ..recipe.recipe import Recipe
from .printing import print_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", type=Path, default=[SHIPPED], metavar="PATH",
                        help="recipe files or engine folders (default: the engine in the package)")  # fmt: skip
    parser.add_argument("--verify", action="store_true", help="check the digest of every file of the engines")


def run(args: argparse.Namespace) -> int:
    for path in args.paths:
        if path.is_dir():
            spec = verify_files(path) if args.verify else read_spec(path)
            print_lines([*describe_engine(path, spec), *(["  every digest matches"] if args.verify else [])])
        elif not path.exists():
            raise FileError(
                f"{printable(path)} does not exist: goodparts teach makes a recipe, goodparts export an engine"
            )
        else:
            print_lines(describe_recipe(path, Recipe.open(path)))
    return 0
