"""The layouts of data sets, and opening the data set in a folder."""

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
"""What reads each category, by its name."""


@dataclass(frozen=True)
class FolderLayout:
    """A layout whose categories are folders in the root; the root may also be a category itself.

    sign is a folder that a category holds in this layout and in no other.
    """

    title: str
    sign: str
    read: Callable[[Path], Split]

    def readers(self, root: Path) -> Readers:
        """Return what reads the categories in root; nothing where root does not have this layout."""
        if (root / self.sign).is_dir():
            return {root.resolve().name: partial(self.read, root)}
        inside = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        folders = [path for path in inside if (path / self.sign).is_dir() and path.name not in _CATEGORY_FOLDERS]
        return {folder.name: partial(self.read, folder) for folder in folders}


_CATEGORY_FOLDERS = ("train", "test", "validation")
"""Folders of a category, in which a folder good/ is no sign of a plain layout."""


@dataclass(frozen=True)
class ListLayout:
    """A layout whose categories are listed by files.

    sign is where those files lie in the root.
    """

    title: str
    sign: str
    list_categories: Callable[[Path], list[str]]
    read: Callable[[Path, str], Split]

    def readers(self, root: Path) -> Readers:
        """Return what reads the categories in root; nothing where root does not have this layout."""
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
_CATEGORIES = {
    "MVTec AD": "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor "
    "wood zipper",
    "MPDD": "bracket_black bracket_brown bracket_white connector metal_plate tubes",
}
"""The categories of the data sets in MVTec AD's layout."""


@dataclass(frozen=True)
class DataSet:
    """A data set on the disk.

    name is the published one. In layouts that anyone may use, it is the folder's name unless all categories are those
    of a published set. Categories are sorted.
    """

    name: str
    layout: str
    root: Path
    _readers: Readers = field(repr=False, compare=False)

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(self._readers)

    def split(self, category: str) -> Split:
        """Read a category's lists.

        Raises SettingsError for an unknown category, and FileError or ImageError for missing files.
        """
        if category not in self._readers:
            raise SettingsError(f"{self.name} has no category {category!r}: there are {' '.join(self.categories)}")
        return self._readers[category]()


def open_data(root: Path, layout: str | None = None) -> DataSet:
    """Open the data set in `root`, a folder of categories or a single one; the layout is detected unless it is given.

    Raises FileError for a root that does not have the layout, or any. Raises SettingsError for an unknown layout, and
    for a root that fits several.
    """
    if layout is not None and layout not in LAYOUTS:
        raise SettingsError(f"layout {layout!r} is unknown: there are {' '.join(LAYOUTS)}")
    if not root.is_dir():
        raise FileError(f"{printable(root)} is no folder: name the one that the data set was unpacked to")
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
    """Return the readers of the layouts that fit; MVTec LOCO has MVTec AD's folders as well."""
    layouts = LAYOUTS if only is None else {only: LAYOUTS[only]}
    fitting = {key: readers for key, layout in layouts.items() if (readers := layout.readers(root))}
    if "loco" in fitting:
        fitting.pop("mvtec", None)
    return fitting


def _describe(root: Path, only: str | None) -> str:
    """Return what a wrong root holds, and the right root where one lies in it."""
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
