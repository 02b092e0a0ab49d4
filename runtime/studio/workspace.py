"""The workspace: a folder with a folder for each product, of ordinary pictures, a recipe, and the recipes before it.

    workspace/metal-nut/product.json            name, region, smallest defect (settings.ProductSettings)
    workspace/metal-nut/good/*.png              photos of good parts, which `goodparts teach` takes as well
    workspace/metal-nut/bad/*.png, settle/*.png bad parts, and parts that nobody has sorted
    workspace/metal-nut/removed/*.png           what was taken out of these
    workspace/metal-nut/recipe.safetensors      the recipe
    workspace/metal-nut/former/0001-teach.safetensors   recipes before it, which undo brings back

Every file is written under another name, flushed to the disk and renamed, so that a kill at any moment leaves whole
files only.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import msgspec

from ..core.errors import FileError, SettingsError
from ..core.files import printable, read_bytes, remove_orphans_in, staged, sync_folder, write_atomic, writing
from ..core.image_files import is_image_name
from ..core.locks import try_lock
from ..page.controls import ChangedError
from ..recipe.recipe import Recipe
from .settings import ProductSettings, clean_name

Kind = Literal["good", "bad", "settle", "removed"]
"""What a picture shows: a good part, a bad one, one that nobody has sorted, or one that was taken out."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_SETTINGS, _RECIPE, _FORMER, _LOCK = "product.json", "recipe.safetensors", "former", ".studio.lock"
_KEPT_RECIPES = 20
"""Recipes that undo can bring back; older ones are removed."""


class PictureEntry(NamedTuple):
    """A picture of a product: its kind, its file's name and size, and what changes when the file is replaced."""

    kind: Kind
    name: str
    size: int
    version: str


class ProductFolder:
    """The files of one product. lock: whoever changes them holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._looked_at: tuple[object, Path | None] = None, None

    @property
    def id(self) -> str:
        """The folder's name, by which the product goes."""
        return self.folder.name

    @property
    def recipe_path(self) -> Path:
        """Return the path of the recipe, which may not be there yet."""
        return self.folder / _RECIPE

    def settings(self) -> ProductSettings:
        """Return what product.json holds; without one, the folder's name.

        Raises:
            SettingsError: The file is damaged.
        """
        path = self.folder / _SETTINGS
        if not path.exists():
            return ProductSettings(name=printable(Path(self.id)))
        try:
            settings: ProductSettings = msgspec.json.decode(read_bytes(path), type=ProductSettings)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SettingsError(f"{printable(path)} is damaged ({error}): mend or remove it") from error
        return settings

    def write_settings(self, settings: ProductSettings) -> None:
        """Write product.json."""
        write_atomic(self.folder / _SETTINGS, _encode(settings))

    def pictures(self, kind: Kind) -> list[PictureEntry]:
        """Return the pictures of a kind, sorted by name, which begins with the time for those that the studio took."""
        found = []
        try:
            with os.scandir(self.folder / kind) as entries:
                for entry in entries:
                    if is_image_name(entry.name) and entry.is_file():
                        status = entry.stat()
                        found.append(
                            PictureEntry(kind, entry.name, status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}")
                        )
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda picture: picture.name)

    def path(self, kind: str, name: str) -> Path:
        """Return the file of a picture that is there.

        Raises:
            ChangedError: There is none of that kind and name.
        """
        for known in KINDS:
            if known == kind and any(picture.name == name for picture in self.pictures(known)):
                return self.folder / known / name
        raise ChangedError("that picture is no longer where it was")

    def add(self, kind: Kind, stem: str, suffix: str, data: bytes) -> str:
        """Write a picture's bytes under a free name that begins with the stem, and return the name.

        Raises:
            SettingsError: A good picture has the same bytes already; the second one would falsify the calibration.
        """
        with self.lock:
            for other in self.pictures(kind) if kind == "good" else ():
                if other.size == len(data) and read_bytes(self.folder / kind / other.name) == data:
                    raise SettingsError(f"it is the same picture as {other.name}, which is there already")
            path = _free(self._make(kind), stem, suffix)
            write_atomic(path, data)
            return path.name

    def move(self, name: str, source: str, target: Kind) -> str:
        """Make a picture one of another kind, and return its name there.

        Raises:
            ChangedError: It is no longer where it was.
            FileError: It cannot be moved.
        """
        with self.lock:
            old = self.path(source, name)
            new = _free(self._make(target), old.stem, old.suffix)
            with writing(new):
                old.rename(new)
                sync_folder(new.parent)
                sync_folder(old.parent)
            return new.name

    def former(self) -> Path | None:
        """Return the recipe that undo would bring back; None where there is none.

        A kill may have left a copy of the recipe in use as the newest one; it is passed over.
        """
        with self.lock:
            paths = self._former()
            state = file_state(self.recipe_path), paths
            if self._looked_at[0] != state:  # the files are large, and this is asked for often
                now = read_bytes(self.recipe_path) if self.recipe_path.exists() else b""
                self._looked_at = state, next((path for path in reversed(paths) if read_bytes(path) != now), None)
            return self._looked_at[1]

    def write_recipe(self, data: bytes, what: str) -> None:
        """Replace the recipe; the one that it replaces is kept.

        Args:
            data: The recipe's bytes.
            what: What is done, in one word, which the kept recipe's name has.
        """
        with self.lock:
            if self.recipe_path.exists():
                former = self._former()
                number = 1 + (int(former[-1].name[:4]) if former else 0)
                write_atomic(self._make(_FORMER) / f"{number:04}-{what}.safetensors", read_bytes(self.recipe_path))
                for path in former[: max(0, len(former) + 1 - _KEPT_RECIPES)]:
                    path.unlink(missing_ok=True)
            write_atomic(self.recipe_path, data)

    def undo(self) -> str:
        """Bring the recipe back that was there before the last change, and return what that change was.

        Raises:
            ChangedError: There is none.
        """
        with self.lock:
            former = self.former()
            if former is None:
                raise ChangedError("there is no earlier recipe")
            write_atomic(self.recipe_path, read_bytes(former))
            for path in self._former():
                if path.name >= former.name:
                    path.unlink(missing_ok=True)
            return what_of(former)

    def sweep(self) -> None:
        """Remove what a kill left half-written."""
        for folder in (self.folder, *(self.folder / name for name in (*KINDS, _FORMER))):
            remove_orphans_in(folder)

    def _former(self) -> list[Path]:
        folder = self.folder / _FORMER
        names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208
        return [folder / name for name in names if re.fullmatch(r"\d{4}-[a-z]+\.safetensors", name)]

    def _make(self, name: str) -> Path:
        folder = self.folder / name
        with writing(folder):
            folder.mkdir(exist_ok=True)
        return folder


def file_state(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def what_of(former: Path) -> str:
    """Return what was done to a former recipe when it was replaced, in one word."""
    return former.stem.partition("-")[2]


class Workspace:
    """The folder of all products; it is made where there is none, and locked against a second studio.

    Raises:
        FileError: It cannot be made, or another studio has it open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with writing(folder / _LOCK):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = (folder / _LOCK).open("ab")
        if not try_lock(self._lock_file.fileno()):
            self._lock_file.close()
            raise FileError(f"{folder} is open in another studio: close that one, or name another folder")
        self._known: dict[str, ProductFolder] = {}
        self._lock = threading.Lock()
        remove_orphans_in(folder)
        for product in self.products():
            product.sweep()

    def close(self) -> None:
        """Let another studio have the folder."""
        self._lock_file.close()

    def products(self) -> list[ProductFolder]:
        """Return the products that lie in the folder now, sorted by the name of their folder."""
        names = sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
        with self._lock:
            self._known = {name: self._known.get(name) or ProductFolder(self.folder / name) for name in names}
            return list(self._known.values())

    def product(self, id: str) -> ProductFolder:
        """Return a product.

        Raises:
            ChangedError: There is none in such a folder.
        """
        for product in self.products():
            if product.id == id:
                return product
        raise ChangedError("there is no such product any more")

    def create(self, name: str) -> ProductFolder:
        """Make a product of this name and return it."""
        settings = ProductSettings(name=clean_name(name))
        return self._make(settings, None)

    def copy(self, product: ProductFolder, name: str) -> ProductFolder:
        """Make a product of this name with another one's pictures, settings and recipe, and return it."""
        with product.lock:
            return self._make(product.settings().changed(name=clean_name(name)), product)

    def _make(self, settings: ProductSettings, origin: ProductFolder | None) -> ProductFolder:
        with self._lock:
            target = _free(self.folder, settings.name, "")
            with staged(target) as part:
                if origin is None:
                    part.mkdir()
                else:
                    shutil.copytree(origin.folder, part, ignore=shutil.ignore_patterns(".*", _FORMER, "removed"))
                (part / _SETTINGS).write_bytes(_encode(settings))
        return self.product(target.name)


def open_recipe(product: ProductFolder) -> Recipe | None:
    """Return a product's recipe; None where it has none yet.

    Raises:
        RecipeError: It is damaged.
    """
    return Recipe.open(product.recipe_path) if product.recipe_path.exists() else None


def safe_stem(text: str) -> str:
    """Return a text as a file's name without its ending: of letters, digits and a few signs, whatever it held."""
    stem = re.sub("[^A-Za-z0-9_-]+", "-", text)[:60].strip("-")
    return stem or "photo"


def _free(folder: Path, stem: str, suffix: str) -> Path:
    stem = safe_stem(stem)
    return next(path for path in _candidates(folder, stem, suffix) if not os.path.lexists(path))


def _candidates(folder: Path, stem: str, suffix: str) -> Iterator[Path]:
    yield folder / f"{stem}{suffix}"
    for number in range(2, 1_000_000):
        yield folder / f"{stem}-{number}{suffix}"


def _encode(settings: ProductSettings) -> bytes:
    return msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n"


def revision_of(settings: ProductSettings) -> str:
    """Return what changes when a product's settings do."""
    return hashlib.sha256(_encode(settings)).hexdigest()[:12]
