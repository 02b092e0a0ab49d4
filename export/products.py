"""What `train-and-export` learns: one product by options or several by a TOML file, each with photos and a recipe."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from goodparts.runtime.core.errors import FileError, SettingsError
from goodparts.runtime.core.files import read_toml, require_folder_of
from goodparts.trainer.product import choose_shots
from msgspec import Meta


@dataclass(frozen=True)
class Task:
    """text: the product in words; photos: to learn from; out: the recipe to write."""

    text: str
    photos: list[Path]
    out: Path


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one product, named by its recipe. images: relative to the file; product: in words, the name where it is not
    given."""

    images: str | list[str]
    product: str | None = None
    shots: Annotated[int, Meta(ge=1)] | None = None


def add_products(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--products", type=Path, metavar="FILE",
                       help="several products: a TOML file with a table each, [name] with images and perhaps product "
                            "and shots; --out is then a folder for name.safetensors. AnoPLe learns one set of prompts "
                            "and one decoder for them all")  # fmt: skip


def read_tasks(args: argparse.Namespace) -> list[Task]:
    """SettingsError or FileError where photos, texts or places for recipes are missing."""
    single = {"--images": args.images, "--product": args.product}
    if args.products is None:
        for option, value in single.items():
            if value is None:
                raise SettingsError(f"{option} is missing: give --images and --product, or --products FILE")
        require_folder_of(args.out)
        return [Task(_words(args.product), choose_shots(args.images, args.shots), args.out)]
    single |= {"--shots": args.shots, "--calibrate-on": args.calibrate_on or None, "--bad": args.bad or None}
    if given := [option for option, value in single.items() if value is not None]:
        raise SettingsError(f"{given[0]} is of one product: leave it out, for --products names several")
    if not args.out.is_dir():
        raise FileError(f"--out {args.out} is no folder: with --products, name the one that recipes go to")
    tables = read_tables(args.products)
    return [
        Task(
            _words(name if table.product is None else table.product),
            choose_shots([args.products.parent / place for place in _listed(table.images)], table.shots),
            args.out / f"{name}.safetensors",
        )
        for name, table in tables.items()
    ]


def read_tables(file: Path) -> dict[str, Table]:
    """The products of a TOML file, by name; SettingsError says where it is wrong."""
    try:
        tables = msgspec.convert(read_toml(file), dict[str, Table])
    except msgspec.ValidationError as error:
        raise SettingsError(f"{file}: {str(error).replace('`$', '`products')}") from error
    if not tables:
        raise SettingsError(f'{file} names no product: give each a table, as in [gear] with images = "photos/gear"')
    for name in tables:
        if Path(name).name != name or name.startswith("."):
            raise SettingsError(f"{file}: [{name}] is no name for a file: its recipe would be {name}.safetensors")
    return tables


def _listed(images: str | list[str]) -> list[str]:
    return [images] if isinstance(images, str) else images


def _words(text: str) -> str:
    words = " ".join(text.split())
    if not words:
        raise SettingsError('--product is empty: name the product in words, as in --product "metal nut"')
    return words
