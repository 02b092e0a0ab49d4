"""`goodparts sign`: signs recipes in place with a key that `goodparts keygen` made."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..recipe.recipe import Recipe
from ..recipe.signing import Signer
from .options import add_key
from .printing import print_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="recipe files")
    add_key(parser, required=True)


def run(args: argparse.Namespace) -> int:
    signer = Signer.read(args.key)
    for path in args.recipes:
        Recipe.open(path).save(path, signer)
        print_lines([f"{path}: signed, now {Recipe.open(path).digest[:12]}"])
    return 0
