"""Writes the pictures of `goodparts inspect`: overlays in a folder, and a contact sheet of the highest scores."""

from __future__ import annotations

import heapq
import itertools
from pathlib import Path

from PIL import Image

from ..core.files import printable, write_atomic, writing
from ..core.image_files import is_drawing
from ..core.preprocess import Array8
from ..inspection import Inspection
from ..overlay import TILE, draw_contact_sheet, draw_overlay, to_png

SHEET_PICTURES = 60
"""A contact sheet shows at most this many pictures, those with the highest scores."""


class OverlayWriter:
    """Writes overlays, a contact sheet, both or neither.

    Args:
        folder: The folder of the overlays, made if it does not exist; None writes no overlays.
        sheet: The file of the contact sheet; None writes none.
        roots: The files and folders in which the pictures were found; an overlay's name is the path below them.
    """

    def __init__(self, folder: Path | None, sheet: Path | None, roots: list[Path]) -> None:
        self._folder, self._sheet, self._roots = folder, sheet, roots
        self._highest: list[tuple[float, int, str, Image.Image]] = []
        self._names: set[str] = set()
        self._count = itertools.count()  # If two scores are equal, the earlier picture stays.
        if folder:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)

    def add(self, path: Path, frame: Array8, inspection: Inspection) -> None:
        """Write a picture's overlay, and keep a small one if the sheet may show it.

        Args:
            path: The picture's file.
            frame: Its pixels, uint8 RGB [height, width, 3].
            inspection: The inspection of the picture.
        """
        name = self._unused(overlay_name(path, self._roots))
        if self._folder:
            write_atomic(self._folder / name, to_png(draw_overlay(frame, inspection)))
        if self._sheet:
            entry = inspection.score, next(self._count), name, draw_overlay(frame, inspection, longest=TILE)
            (heapq.heappush if len(self._highest) < SHEET_PICTURES else heapq.heappushpop)(self._highest, entry)

    def close(self) -> None:
        """Write the sheet, highest score first."""
        if self._sheet and self._highest:
            ordered = sorted(self._highest, key=lambda entry: (-entry[0], entry[1]))
            sheet = draw_contact_sheet([(name, picture) for *_, name, picture in ordered])
            write_atomic(self._sheet, to_png(sheet))

    def _unused(self, name: str) -> str:
        """Return the name, with a number if another picture already has it."""
        unused, stem = name, name.removesuffix(".png")
        for number in itertools.count(2):
            if unused not in self._names and not self._would_replace_a_photo(unused):
                break
            unused = f"{stem}_{number}.png"
        self._names.add(unused)
        return unused

    def _would_replace_a_photo(self, name: str) -> bool:
        """Return whether the folder has a file of this name that goodparts did not draw, such as an inspected photo."""
        target = None if self._folder is None else self._folder / name
        return target is not None and target.exists() and not is_drawing(target)


def overlay_name(path: Path, roots: list[Path]) -> str:
    """Return a file name: the path from the root to the picture, with underscores between its parts.

    Args:
        path: The picture's file.
        roots: The files and folders in which the pictures were found.
    """
    inside = next((path.relative_to(root) for root in roots if root.is_dir() and path.is_relative_to(root)), None)
    name = printable(Path("_".join((inside or Path(path.name)).parts)))
    return name if path.suffix.lower() == ".png" else f"{name}.png"
