"""The products that `train-and-export` is asked to learn: one by options, or several by a TOML file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from goodparts.runtime.core.errors import FileError, SettingsError
from goodparts.runtime.core.files import read_toml
from goodparts.runtime.core.outputs import require_output
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.product import one_line
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.shots import Shots, choose_shots, load_shots, stored_shots
from msgspec import Meta


@dataclass(frozen=True)
class ProductRequest:
    """A product that the user asks for.

    Attributes:
        text: The product in the user's words, not empty.
        photos: The photos to learn from; none if a recipe is refined.
        recipe_file: The recipe's file.
        refined: The recipe of --refine, from whose photos the product is learned; None without that option.
    """

    text: str
    photos: list[Path]
    recipe_file: Path
    refined: Recipe | None = None

    def load(self, view: View, sides: Sequence[int]) -> Shots:
        """Return the photos as views; see `load_shots` and `stored_shots` for errors.

        Args:
            view: Which part of a photo is inspected, and in how many tiles.
            sides: The side lengths of the views in pixels, the encoder's own first.
        """
        if self.refined is not None:
            return stored_shots(self.refined, sides)
        return load_shots(self.photos, view, sides)


class ProductTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table of one product in the TOML file. The table's name is the recipe's name.

    Attributes:
        images: Photos or folders of them, relative to the TOML file.
        product: The product in words; the table's name if it is not given.
        shots: The number of photos to learn from; all of them if it is not given.
    """

    images: str | list[str]
    product: str | None = None
    shots: Annotated[int, Meta(ge=1)] | None = None

    @property
    def paths(self) -> list[str]:
        """The images as a list."""
        return [self.images] if isinstance(self.images, str) else self.images


def add_products(group: argparse._ArgumentGroup) -> None:
    """Add the option that names a TOML file of products.

    Args:
        group: The group of the parser.
    """
    group.add_argument("--products", type=Path, metavar="FILE",
                       help="several products: a TOML file with one table [name] for each product, with images and, if "
                            "needed, product and shots; --out is then a folder for name.safetensors. AnoPLe learns one "
                            "set of prompts and one decoder for all products")  # fmt: skip


def read_product_requests(args: argparse.Namespace) -> list[ProductRequest]:
    """Return the products that the options ask for.

    Args:
        args: The command's options.

    Raises:
        SettingsError: An option is missing, does not go with --products or --refine, or has a value that is not
            accepted.
        FileError: A photo or the place for a recipe does not exist.
    """
    if args.refine is not None:
        for option in ("images", "shots", "products"):
            if getattr(args, option) is not None:
                raise SettingsError(f"--{option} with --refine, which uses the recipe's photos: leave one of them out")
        require_output(args.out, "recipe")
        recipe = Recipe.open(args.refine)
        text = recipe.header.product if args.product is None else args.product
        return [ProductRequest(one_line(text), [], args.out, recipe)]
    single = {"--images": args.images, "--product": args.product}
    if args.products is None:
        for option, value in single.items():
            if value is None:
                raise SettingsError(f"{option} is missing: give --images and --product, --products or --refine")
        require_output(args.out, "recipe")
        return [ProductRequest(one_line(args.product), choose_shots(args.images, args.shots), args.out)]
    single |= {"--shots": args.shots, "--good": args.good or None, "--bad": args.bad or None}
    for option, value in single.items():
        if value is not None:
            raise SettingsError(f"{option} is for a single product, but --products names several: leave it out")
    if not args.out.is_dir():
        raise FileError(f"--out {args.out} is no folder: with --products, name an existing folder for the recipes")
    requests = [
        ProductRequest(
            one_line(name if table.product is None else table.product),
            choose_shots([args.products.parent / path for path in table.paths], table.shots),
            args.out / f"{name}.safetensors",
        )
        for name, table in read_product_tables(args.products).items()
    ]
    for request in requests:
        require_output(request.recipe_file, "recipe")
    return requests


def read_product_tables(file: Path) -> dict[str, ProductTable]:
    """Return the tables of a TOML file by the products' names.

    Args:
        file: The TOML file.

    Raises:
        SettingsError: The file is not valid TOML, names no product, or has a wrong field or name.
        FileError: The file cannot be read.
    """
    try:
        tables = msgspec.convert(read_toml(file), dict[str, ProductTable])
    except msgspec.ValidationError as error:
        raise SettingsError(f"{file}: {str(error).replace('`$', '`products')}") from error
    if not tables:
        raise SettingsError(f'{file} names no product: give each a table, as in [gear] with images = "photos/gear"')
    for name in tables:
        if Path(name).name != name or name.startswith("."):
            raise SettingsError(f"{file}: [{name}] is no name for a file: its recipe would be {name}.safetensors")
    return tables
