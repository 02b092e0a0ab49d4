"""`goodparts sign`: sign recipes in place, with a key that `goodparts keygen` made."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..recipe.recipe import Recipe
from ..recipe.signing import Signer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="recipe files")
    add_key(parser, required=True)


def add_key(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """The option of every command that writes a recipe which may be signed."""
    parser.add_argument("--key", type=Path, required=required, metavar="FILE", help="private key to sign it with")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The option of every command that only reads recipes."""
    parser.add_argument("--accept-signed", type=Path, metavar="FILE",
                        help="take recipes alone that are signed with a public key of this file")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    signer = Signer.read(args.key)
    for path in args.recipes:
        Recipe.open(path).save(path, signer)
        print(f"{path}: signed, now {Recipe.open(path).digest[:12]}")
    return 0
