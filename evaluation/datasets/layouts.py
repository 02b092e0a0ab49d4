"""The layouts of data sets, and the function that opens the data set in a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from goodparts.runtime.core.errors import FileError, SettingsError
from goodparts.runtime.core.files import printable

from .folders import read_btad, read_loco, read_mvtec, read_plain
from .lists import REALIAD_LISTS, VISA_LIST, list_realiad, list_visa, read_realiad, read_visa
from .samples import Split

Readers = Mapping[str, Callable[[], Split]]
"""The functions that read the categories, by the categories' names."""


@dataclass(frozen=True)
class FolderLayout:
    """A layout whose categories are folders in the root. The root may also be a single category.

    Attributes:
        title: The layout's name in messages.
        sign: A folder that a category has in this layout and in no other.
        read: Reads a category from its folder.
    """

    title: str
    sign: str
    read: Callable[[Path], Split]

    def readers(self, root: Path) -> Readers:
        """Return the functions that read the categories in root; none if root does not have this layout.

        Args:
            root: The folder of the data set.
        """
        if (root / self.sign).is_dir():
            return {root.resolve().name: partial(self.read, root)}
        inside = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        folders = [path for path in inside if (path / self.sign).is_dir() and path.name not in _CATEGORY_FOLDERS]
        return {folder.name: partial(self.read, folder) for folder in folders}


_CATEGORY_FOLDERS = ("train", "test", "validation")
"""Folders of a category. A folder good/ in one of them does not make it a plain layout."""


@dataclass(frozen=True)
class ListLayout:
    """A layout whose categories are listed by files.

    Attributes:
        title: The layout's name in messages.
        sign: The path of those files in the root.
        list_categories: Returns the categories' names.
        read: Reads a category from the root by its name.
    """

    title: str
    sign: str
    list_categories: Callable[[Path], list[str]]
    read: Callable[[Path, str], Split]

    def readers(self, root: Path) -> Readers:
        """Return the functions that read the categories in root; none if root does not have this layout.

        Args:
            root: The folder of the data set.
        """
        if not (root / self.sign).exists():
            return {}
        return {name: partial(self.read, root, name) for name in self.list_categories(root)}


LAYOUTS: Mapping[str, FolderLayout | ListLayout] = {
    "visa": ListLayout("VisA", VISA_LIST, list_visa, read_visa),
    "realiad": ListLayout("Real-IAD", REALIAD_LISTS, list_realiad, read_realiad),
    "loco": FolderLayout("MVTec LOCO", "test/logical_anomalies", read_loco),
    "mvtec": FolderLayout("MVTec AD", "train/good", read_mvtec),
    "btad": FolderLayout("BTAD", "train/ok", read_btad),
    "plain": FolderLayout("plain folder", "good", read_plain),
}
"""The layouts by the names that --layout takes."""
_CATEGORIES = {
    "MVTec AD": "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor "
    "wood zipper",
    "MPDD": "bracket_black bracket_brown bracket_white connector metal_plate tubes",
}
"""The categories of the data sets in MVTec AD's layout."""


@dataclass(frozen=True)
class DataSet:
    """A data set on the disk.

    Attributes:
        name: The published name. In the layouts mvtec and plain, which any folder may have, it is the folder's name
            unless the categories are those of a published data set.
        layout: The name of its layout in LAYOUTS.
        root: Its folder.
    """

    name: str
    layout: str
    root: Path
    _readers: Readers = field(repr=False, compare=False)

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories' names, sorted."""
        return tuple(self._readers)

    def split(self, category: str) -> Split:
        """Read a category's lists of photos and masks.

        Args:
            category: The category's name.

        Returns:
            The category.

        Raises:
            SettingsError: The data set has no category of this name.
            FileError: A file or folder is missing or damaged.
            ImageError: A mask is missing.
        """
        if category not in self._readers:
            raise SettingsError(f"{self.name} has no category {category!r}: there are {' '.join(self.categories)}")
        return self._readers[category]()


def open_data(root: Path, layout: str | None = None) -> DataSet:
    """Open the data set in a folder.

    Args:
        root: The folder of all categories, or of a single one.
        layout: The layout's name in LAYOUTS; None to detect it.

    Returns:
        The data set.

    Raises:
        FileError: The root does not exist, does not have the given layout, or has no known layout.
        SettingsError: The layout is unknown, or the root fits several layouts.
    """
    if layout is not None and layout not in LAYOUTS:
        raise SettingsError(f"layout {layout!r} is unknown: there are {' '.join(LAYOUTS)}")
    if not root.is_dir():
        raise FileError(f"{printable(root)} is no folder: name the folder that the data set was unpacked to")
    fitting = _find_layouts(root, layout)
    if not fitting and layout is not None:
        title, sign = LAYOUTS[layout].title, LAYOUTS[layout].sign
        raise FileError(f"{printable(root)} is not a {title} root: no {sign} in it; {_describe(root, layout)}")
    if not fitting:
        signs = ", ".join(f"{known.sign} ({known.title})" for known in LAYOUTS.values())
        raise FileError(f"{printable(root)} has no known layout: looked for {signs}; {_describe(root, layout)}")
    if len(fitting) > 1:
        raise SettingsError(f"{printable(root)} fits several layouts, {' and '.join(fitting)}: name one of them")
    ((key, readers),) = fitting.items()
    return DataSet(_name(key, root, readers), key, root, readers)


def _find_layouts(root: Path, only: str | None) -> dict[str, Readers]:
    """Return the readers of the layouts that fit the root.

    MVTec LOCO includes MVTec AD's folders, so a root that fits both is LOCO's.
    """
    layouts = LAYOUTS if only is None else {only: LAYOUTS[only]}
    fitting = {key: readers for key, layout in layouts.items() if (readers := layout.readers(root))}
    if "loco" in fitting:
        fitting.pop("mvtec", None)
    return fitting


def _describe(root: Path, only: str | None) -> str:
    """Return a text that names a wrong root's content, and the right root if it is one of the subfolders."""
    inside = sorted(root.iterdir())
    names = " ".join(printable(Path(path.name)) for path in inside[:8]) + (" …" if len(inside) > 8 else "")
    nearby = [path for path in inside if path.is_dir() and _find_layouts(path, only)]
    hint = f"; try {printable(nearby[0])}" if len(nearby) == 1 else ""
    return f"it has {names or 'nothing'}{hint}"


def _name(key: str, root: Path, readers: Readers) -> str:
    if key not in ("mvtec", "plain"):
        return LAYOUTS[key].title
    known = {frozenset(names.split()): name for name, names in _CATEGORIES.items()}
    return known.get(frozenset(readers), root.resolve().name) if key == "mvtec" else root.resolve().name
