"""Which layout a folder has, and the data set in it."""

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
"""By category."""


@dataclass(frozen=True)
class Layout:
    """sign: what a root, or each category in it, holds in this layout and in no other."""

    title: str
    sign: str
    find: Callable[[Path], Readers]


def _in_folders(sign: str, read: Callable[[Path], Split]) -> Callable[[Path], Readers]:
    """Categories are the folders in the root that hold the folder `sign`, or the root is one itself."""

    def find(root: Path) -> Readers:
        if (root / sign).is_dir():
            return {root.resolve().name: partial(read, root)}
        inside = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        folders = [path for path in inside if (path / sign).is_dir() and path.name not in _PARTS]
        return {folder.name: partial(read, folder) for folder in folders}

    return find


_PARTS = ("train", "test", "validation")
"""Of a category, whose folders good/ are not those of a plain layout."""


def _in_list(
    sign: str, names: Callable[[Path], list[str]], read: Callable[[Path, str], Split]
) -> Callable[[Path], Readers]:
    """Categories are named in files at `sign` in the root."""

    def find(root: Path) -> Readers:
        return {name: partial(read, root, name) for name in names(root)} if (root / sign).exists() else {}

    return find


LAYOUTS = {
    "visa": Layout("VisA", VISA_LIST, _in_list(VISA_LIST, list_visa, read_visa)),
    "realiad": Layout("Real-IAD", REALIAD_LISTS, _in_list(REALIAD_LISTS, list_realiad, read_realiad)),
    "loco": Layout("MVTec LOCO", "test/logical_anomalies", _in_folders("test/logical_anomalies", read_loco)),
    "mvtec": Layout("MVTec AD", "train/good", _in_folders("train/good", read_mvtec)),
    "btad": Layout("BTAD", "train/ok", _in_folders("train/ok", read_btad)),
    "plain": Layout("plain folder", "good", _in_folders("good", read_plain)),
}
_CATEGORIES = {
    "MVTec AD": "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor "
    "wood zipper",
    "MPDD": "bracket_black bracket_brown bracket_white connector metal_plate tubes",
}
"""Of the data sets in MVTec AD's layout."""


@dataclass(frozen=True)
class DataSet:
    """A data set on the disk.

    name: as published; in layouts that anyone may use, the folder's name unless all categories are those of a published
    set. Categories are sorted.
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

        Raises SettingsError for a category that there is not, FileError and ImageError for files that are missing.
        """
        if category not in self._readers:
            raise SettingsError(f"{self.name} has no category {category!r}: there are {' '.join(self.categories)}")
        return self._readers[category]()


def open_data(root: Path, layout: str | None = None) -> DataSet:
    """Open the data set in `root`, a folder of categories or a single one; the layout is found out where none is named.

    Raises FileError for a root without the layout, or without any; SettingsError where several fit or none has that
    name.
    """
    if layout is not None and layout not in LAYOUTS:
        raise SettingsError(f"layout {layout!r} is unknown: there are {' '.join(LAYOUTS)}")
    if not root.is_dir():
        raise FileError(f"{printable(root)} is no folder: name the one that the data set was unpacked to")
    found = _find(root, layout)
    if not found and layout is not None:
        wanted = LAYOUTS[layout]
        raise FileError(
            f"{printable(root)} is not a {wanted.title} root: no {wanted.sign} in it; {_describe(root, layout)}"
        )
    if not found:
        signs = ", ".join(f"{one.sign} ({one.title})" for one in LAYOUTS.values())
        raise FileError(f"{printable(root)} has no known layout: looked for {signs}; {_describe(root, layout)}")
    if len(found) > 1:
        raise SettingsError(f"{printable(root)} fits several layouts, {' and '.join(found)}: name one of them")
    ((key, readers),) = found.items()
    return DataSet(_name(key, root, readers), key, root, readers)


def _find(root: Path, only: str | None) -> dict[str, Readers]:
    """The layouts that fit. One that LOCO fits has MVTec AD's folders as well."""
    wanted = LAYOUTS if only is None else {only: LAYOUTS[only]}
    found = {key: readers for key, layout in wanted.items() if (readers := layout.find(root))}
    if "loco" in found:
        found.pop("mvtec", None)
    return found


def _describe(root: Path, only: str | None) -> str:
    """What a wrong root holds, and whether a right one lies in it."""
    inside = sorted(root.iterdir())
    names = " ".join(printable(Path(path.name)) for path in inside[:8]) + (" …" if len(inside) > 8 else "")
    nearby = [path for path in inside if path.is_dir() and _find(path, only)]
    hint = f"; try {printable(nearby[0])}" if len(nearby) == 1 else ""
    return f"it has {names or 'nothing'}{hint}"


def _name(key: str, root: Path, readers: Readers) -> str:
    if key not in ("mvtec", "plain"):
        return LAYOUTS[key].title
    known = {frozenset(names.split()): name for name, names in _CATEGORIES.items()}
    return known.get(frozenset(readers), root.resolve().name) if key == "mvtec" else root.resolve().name
