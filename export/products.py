"""What `train-and-export` is asked to learn: one product by options, or several by a TOML file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from goodparts.runtime.core.errors import FileError, SettingsError
from goodparts.runtime.core.files import read_toml, require_folder_of
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
        photos: The photos to learn from; none where a recipe is refined.
        recipe_file: Where the recipe goes.
        refined: The recipe of --refine, whose photos are learned from; None without that option.
    """

    text: str
    photos: list[Path]
    recipe_file: Path
    refined: Recipe | None = None

    def load(self, view: View, sides: Sequence[int]) -> Shots:
        """Return the photos; `load_shots` and `stored_shots` tell what is raised.

        Args:
            view: Which part of a photo is looked at, and in how many tiles.
            sides: The side lengths of the views in pixels, the encoder's own first.
        """
        if self.refined is not None:
            return stored_shots(self.refined, sides)
        return load_shots(self.photos, view, sides)


class ProductTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table of one product in the TOML file; its name is the recipe's.

    Attributes:
        images: Photos or folders of them, relative to the file.
        product: The product in words; the table's name where it is not given.
        shots: How many photos to learn from; all of them where it is not given.
    """

    images: str | list[str]
    product: str | None = None
    shots: Annotated[int, Meta(ge=1)] | None = None

    @property
    def paths(self) -> list[str]:
        """The images as a list."""
        return [self.images] if isinstance(self.images, str) else self.images


def add_products(group: argparse._ArgumentGroup) -> None:
    """Add the option that names a TOML file of products."""
    group.add_argument("--products", type=Path, metavar="FILE",
                       help="several products: a TOML file with a table each, [name] with images and perhaps product "
                            "and shots; --out is then a folder for name.safetensors. AnoPLe learns one set of prompts "
                            "and one decoder for them all")  # fmt: skip


def read_product_requests(args: argparse.Namespace) -> list[ProductRequest]:
    """Return the products that the options ask for.

    Raises:
        SettingsError: An option is missing, does not go with --products, or has a value that is not accepted.
        FileError: A photo or the place for a recipe does not exist.
    """
    if args.refine is not None:
        for option in ("images", "shots", "products"):
            if getattr(args, option) is not None:
                raise SettingsError(f"--{option} with --refine, which takes the recipe's photos: leave one of them out")
        require_folder_of(args.out)
        recipe = Recipe.open(args.refine)
        text = recipe.header.product if args.product is None else args.product
        return [ProductRequest(one_line(text), [], args.out, recipe)]
    single = {"--images": args.images, "--product": args.product}
    if args.products is None:
        for option, value in single.items():
            if value is None:
                raise SettingsError(f"{option} is missing: give --images and --product, --products or --refine")
        require_folder_of(args.out)
        return [ProductRequest(one_line(args.product), choose_shots(args.images, args.shots), args.out)]
    single |= {"--shots": args.shots, "--good": args.good or None, "--bad": args.bad or None}
    for option, value in single.items():
        if value is not None:
            raise SettingsError(f"{option} is of one product: leave it out, for --products names several")
    if not args.out.is_dir():
        raise FileError(f"--out {args.out} is no folder: with --products, name the one that recipes go to")
    return [
        ProductRequest(
            one_line(name if table.product is None else table.product),
            choose_shots([args.products.parent / path for path in table.paths], table.shots),
            args.out / f"{name}.safetensors",
        )
        for name, table in read_product_tables(args.products).items()
    ]


def read_product_tables(file: Path) -> dict[str, ProductTable]:
    """Return the tables of a TOML file by the products' names.

    Raises:
        SettingsError: The file is no TOML, names no product, or has a wrong field or name.
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
