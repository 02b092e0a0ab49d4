"""The rule for which files of a folder are pictures, the same for learning, inspecting, measuring and watching.

Files that are left out are logged, so that nobody believes that they were inspected.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import FileError
from .files import printable

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
SYSTEM_FOLDERS = frozenset(
    {"$recycle.bin", "#recycle", "@eadir", "__macosx", "lost+found", "system volume information"}
)
"""Folders that operating systems create (trash, thumbnails, leftovers), in lower case. Hidden ones begin with a dot."""

MARK = "goodparts drawing"
"""The text chunk `Software` of the PNG files that goodparts draws: overlays, contact sheets and heat-maps."""
_MARKED = b"tEXtSoftware\0" + MARK.encode()
_MARK_WITHIN = 512
"""The mark lies within this many bytes of the file's start, because Pillow writes text before the pixels."""
_SUFFIXES_SHOWN = 6


def is_image_name(name: str) -> bool:
    """Return whether a file in a folder counts as a picture: it has a picture's ending and is not hidden.

    Args:
        name: The file's name, without its folder.
    """
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def is_drawing(path: Path) -> bool:
    """Return whether a file is a PNG that goodparts drew, such as an overlay. It is then no photo of a part.

    Args:
        path: The file.
    """
    if path.suffix.lower() != ".png":
        return False
    try:
        with path.open("rb") as file:
            return is_marked(file.read(_MARK_WITHIN))
    except OSError:
        return False  # decoding the file will raise the error


def is_marked(head: bytes) -> bool:
    """Return whether a file is a PNG that goodparts drew, whatever its name.

    Args:
        head: The first 512 bytes of the file, or more.
    """
    return _MARKED in head


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return the pictures that `paths` name. Folders are searched at every depth, and their pictures sorted by path.

    A folder contributes the files that `is_image_name` accepts, also behind links, but nothing from hidden folders and
    SYSTEM_FOLDERS, and no drawing of goodparts. A file that is named directly is returned with any ending, because
    decoding it raises an error about that file; a drawing is refused. A file that two paths name is returned once. The
    files that are left out are logged.

    Args:
        paths: Pictures and folders of pictures.

    Raises:
        FileError: A path does not exist or is a drawing of goodparts, or a folder cannot be read or holds no picture.
    """
    images: dict[str, Path] = {}
    left_out = _LeftOut()
    for path in paths:
        if path.is_dir():
            inside = sorted(_search(path, left_out))
            if not inside:
                kinds = " ".join(sorted(IMAGE_SUFFIXES))
                raise FileError(
                    f"no pictures in {printable(path)}{left_out.reason()}: searched at every depth for {kinds}"
                )
        elif is_drawing(path):
            frame = path.with_name(path.name.removesuffix(".map.png") + ".frame.png")  # as a line names its rejects
            photo = printable(frame) if frame.exists() else "the photo itself"
            raise FileError(f"{printable(path)} is no photo: goodparts drew it; give {photo}")
        elif path.exists():
            inside = [path]
        else:
            raise FileError(f"{printable(path)} does not exist: give a picture or a folder of pictures")
        for file in inside:
            if images.setdefault(os.path.realpath(file), file) is not file:
                left_out.twice += 1
    left_out.report()
    return list(images.values())


class _LeftOut:
    """The files that a search left out."""

    def __init__(self) -> None:
        self.suffixes: Counter[str] = Counter()
        self.drawings = self.twice = 0
        self.unreadable: list[str] = []

    def reason(self) -> str:
        """Return the number of files of each kind that were left out, in brackets; empty if there are none."""
        parts = []
        if self.suffixes:
            shown = [suffix or "without an ending" for suffix, _ in self.suffixes.most_common(_SUFFIXES_SHOWN)]
            more = " …" if len(self.suffixes) > _SUFFIXES_SHOWN else ""
            parts.append(f"{_count(self.suffixes.total(), 'file')} skipped: {' '.join(sorted(shown))}{more}")
        if self.drawings:
            parts.append(f"{_count(self.drawings, 'drawing')} of goodparts' own skipped")
        if self.twice:
            parts.append(f"{_count(self.twice, 'file')} named twice and taken once")
        return f" ({'; '.join(parts)})" if parts else ""

    def report(self) -> None:
        if reason := self.reason():
            log.warning("%s", reason.strip(" ()"))
        for line in self.unreadable:
            log.warning("%s", line)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _search(folder: Path, left_out: _LeftOut) -> Iterator[Path]:
    """Yield the pictures in a folder at every depth. Each folder is searched once, also if links form a circle."""
    searched: set[str] = set()

    def inside(place: Path) -> Iterator[Path]:
        real = os.path.realpath(place)
        if real in searched:
            return
        searched.add(real)
        for entry in sorted(place.iterdir()):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if entry.name.lower() in SYSTEM_FOLDERS:
                    continue
                try:
                    yield from inside(entry)
                except OSError as error:
                    left_out.unreadable.append(f"cannot look into {printable(entry)}: {error.strerror or error}")
            elif entry.is_file():
                if not is_image_name(entry.name):
                    left_out.suffixes[entry.suffix.lower()] += 1
                elif is_drawing(entry):
                    left_out.drawings += 1
                else:
                    yield entry

    try:
        yield from inside(folder)
    except OSError as error:
        raise FileError(
            f"cannot look into {printable(folder)}: {error.strerror or error}; name a folder that can be read"
        ) from error
