"""The workspace: a folder that holds, for each product, a folder with pictures, the recipe, and earlier recipes.

    workspace/metal-nut/product.json            name, region, smallest defect (settings.ProductSettings)
    workspace/metal-nut/good/*.png              photos of good parts, which `goodparts teach` takes as well
    workspace/metal-nut/bad/*.png, settle/*.png bad parts, and parts that nobody has sorted
    workspace/metal-nut/removed/*.png           pictures that were removed from these folders
    workspace/metal-nut/recipe.safetensors      the recipe
    workspace/metal-nut/former/0001-teach.safetensors   earlier recipes, which undo brings back

Every file is written under a temporary name, flushed to the disk and renamed. If the process is killed at any moment,
it leaves complete files only.
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
"""The kind of a picture: a good part, a bad part, a part that nobody has sorted, or a picture that was taken out."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_SETTINGS, _RECIPE, _FORMER, _LOCK = "product.json", "recipe.safetensors", "former", ".studio.lock"
_KEPT_RECIPES = 20
"""The most earlier recipes that are kept of a product. Undo can bring these back; older ones are deleted."""


class PictureEntry(NamedTuple):
    """A picture of a product.

    Attributes:
        kind: The picture's kind.
        name: The name of its file.
        size: The bytes of its file.
        version: A text that changes when the file is replaced.
    """

    kind: Kind
    name: str
    size: int
    version: str


class ProductFolder:
    """The files of one product.

    Args:
        folder: The product's folder.

    Attributes:
        lock: The lock that a thread holds while it changes the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._looked_at: tuple[object, Path | None] = None, None

    @property
    def id(self) -> str:
        """The product's id, which is the folder's name."""
        return self.folder.name

    @property
    def recipe_path(self) -> Path:
        """The path of the recipe's file, which may not exist yet."""
        return self.folder / _RECIPE

    def settings(self) -> ProductSettings:
        """Return the settings in product.json; without that file, settings with the folder's name.

        Raises:
            SettingsError: The file is damaged.
        """
        path = self.folder / _SETTINGS
        if not path.exists():
            return ProductSettings(name=printable(Path(self.id)))
        try:
            settings: ProductSettings = msgspec.json.decode(read_bytes(path), type=ProductSettings)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SettingsError(f"{printable(path)} is damaged ({error}): repair or remove it") from error
        return settings

    def write_settings(self, settings: ProductSettings) -> None:
        """Write product.json.

        Args:
            settings: The new settings of the product.
        """
        write_atomic(self.folder / _SETTINGS, _encode(settings))

    def pictures(self, kind: Kind) -> list[PictureEntry]:
        """Return the pictures of a kind, sorted by name. The names of collected frames begin with the time.

        Args:
            kind: The kind of the pictures to list.
        """
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
        """Return the path of an existing picture.

        Args:
            kind: The picture's kind; any other text has no pictures.
            name: The name of the picture's file.

        Raises:
            ChangedError: There is no picture of that kind and name.
        """
        for known in KINDS:
            if known == kind and any(picture.name == name for picture in self.pictures(known)):
                return self.folder / known / name
        raise ChangedError("that picture is no longer where it was")

    def add(self, kind: Kind, stem: str, suffix: str, data: bytes) -> str:
        """Write a new picture under a free name.

        Args:
            kind: The picture's kind.
            stem: The text that the file's name begins with.
            suffix: The ending of the file's name, such as ".png".
            data: The bytes of the file.

        Returns:
            The name of the file.

        Raises:
            SettingsError: A good or an unsorted picture with the same bytes exists. The same photo twice would make the
                thresholds wrong.
        """
        with self.lock:
            for other in self.pictures(kind) if kind in ("good", "settle") else ():
                if other.size == len(data) and read_bytes(self.folder / kind / other.name) == data:
                    raise SettingsError(f"this is the same picture as {other.name}, which was collected already")
            path = _free(self._make(kind), stem, suffix)
            write_atomic(path, data)
            return path.name

    def move(self, name: str, source: str, target: Kind) -> str:
        """Move a picture to another kind.

        Args:
            name: The name of the picture's file.
            source: The present kind.
            target: The new kind.

        Returns:
            The name of the file in its new folder.

        Raises:
            ChangedError: The picture is no longer in the folder of its present kind.
            FileError: The file cannot be moved.
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
        """Return the path of the earlier recipe that undo would bring back; None if there is none.

        After a kill during a change, the newest earlier recipe may be a copy of the one in use. Such a copy is skipped.
        """
        with self.lock:
            paths = self._former()
            state = file_state(self.recipe_path), paths
            if self._looked_at[0] != state:  # the files are large, and the page calls this every second
                now = read_bytes(self.recipe_path) if self.recipe_path.exists() else b""
                self._looked_at = state, next((path for path in reversed(paths) if read_bytes(path) != now), None)
            return self._looked_at[1]

    def write_recipe(self, data: bytes, what: str) -> None:
        """Write the recipe, and keep the present one among the earlier recipes.

        Args:
            data: The bytes of the new recipe's file.
            what: The change in one word, which becomes part of the kept recipe's name.
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
        """Bring back the recipe from before the last change.

        Returns:
            The change that was taken back, in one word.

        Raises:
            ChangedError: There is no earlier recipe.
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
        """Delete incomplete files that a killed process left."""
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
    """Return a value that changes when a file is replaced; None if the file does not exist.

    Args:
        path: The file.

    Returns:
        The inode, the size in bytes, and the time of the last change in nanoseconds.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def what_of(former: Path) -> str:
    """Return the change that replaced an earlier recipe, in one word.

    Args:
        former: The path of the earlier recipe.
    """
    return former.stem.partition("-")[2]


class Workspace:
    """The folder of all products. A lock keeps a second studio from opening it.

    Args:
        folder: The folder; it is made if it does not exist.

    Raises:
        FileError: The folder cannot be made or is a file, or another studio has it open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if folder.exists() and not folder.is_dir():
            raise FileError(f"{folder} is a file: name a folder")
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
        """Release the folder for another studio."""
        self._lock_file.close()

    def products(self) -> list[ProductFolder]:
        """Return the products that are in the folder now, sorted by the names of their folders."""
        names = sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
        with self._lock:
            self._known = {name: self._known.get(name) or ProductFolder(self.folder / name) for name in names}
            return list(self._known.values())

    def product(self, id: str) -> ProductFolder:
        """Return a product.

        Args:
            id: The name of the product's folder.

        Raises:
            ChangedError: There is no such product.
        """
        for product in self.products():
            if product.id == id:
                return product
        raise ChangedError("that product no longer exists")

    def create(self, name: str) -> ProductFolder:
        """Make a product.

        Args:
            name: The product's name.

        Returns:
            The product.

        Raises:
            SettingsError: The name is empty, too long, or has characters that cannot be printed.
        """
        settings = ProductSettings(name=clean_name(name))
        return self._make(settings, None)

    def copy(self, product: ProductFolder, name: str) -> ProductFolder:
        """Make a product with the pictures, the settings and the recipe of another one.

        Args:
            product: The product to copy.
            name: The copy's name.

        Returns:
            The copy.

        Raises:
            SettingsError: The name is empty, too long, or has characters that cannot be printed.
        """
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
    """Return a product's recipe; None if it has none yet.

    Args:
        product: The product whose recipe is read.

    Raises:
        RecipeError: The recipe is damaged.
    """
    return Recipe.open(product.recipe_path) if product.recipe_path.exists() else None


def safe_stem(text: str) -> str:
    """Return a text as the name of a file without its ending.

    Args:
        text: Any text. Each run of characters other than ASCII letters, digits, "_" and "-" becomes "-".
    """
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
    """Return a text that changes when a product's settings do.

    Args:
        settings: The settings of the product.
    """
    return hashlib.sha256(_encode(settings)).hexdigest()[:12]
