"""Layouts in which a photo's folder states whether the photo is good, or which defect it shows.

MVTec AD and data sets in its layout (MPDD): train/good; test/good and test/<defect>; ground_truth/<defect> with a mask
<name>_mask.png or <name>.png for each bad photo.

BTAD: train/ok; test/ok and test/ko; ground_truth/ko/<name>.*; a mask's file may have another format than its photo's.

MVTec LOCO: as MVTec AD, and validation/good; test/logical_anomalies and test/structural_anomalies;
ground_truth/<anomalies>/<name>/000.png …, a mask for each defect; defects_config.json with the defects' saturation
areas.

Plain: good; optionally bad, with or without subfolders; optionally masks, with the same subfolders as bad.

Sources: Bergmann et al., IJCV 2021 (MVTec AD) and IJCV 2022 (LOCO); Jezek et al., ICUMT 2021 (MPDD); Mishra et al.,
ISIE 2021 (BTAD); the readme files that come with them.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec
from goodparts.runtime.core.errors import FileError, ImageError
from goodparts.runtime.core.files import printable, read_bytes
from goodparts.runtime.core.image_files import find_images, is_image_name

from .samples import Sample, Saturation, Split

Masks = Callable[[Path, str], tuple[Path, ...]]
"""Takes a photo and the name of its defect, and returns the photo's masks."""


def read_mvtec(folder: Path) -> Split:
    """Read a category of MVTec AD, or of a data set in its layout.

    Args:
        folder: The category's folder.

    Returns:
        The category.

    Raises:
        FileError: A folder of the layout is missing.
        ImageError: A bad photo does not have exactly one mask.
    """
    return _read(folder, "good", MaskFolder(folder / "ground_truth").find)


def read_btad(folder: Path) -> Split:
    """Read a category of BTAD.

    Args:
        folder: The category's folder.

    Returns:
        The category.

    Raises:
        FileError: A folder of the layout is missing.
        ImageError: A bad photo does not have exactly one mask.
    """
    return _read(folder, "ok", MaskFolder(folder / "ground_truth").find)


def read_loco(folder: Path) -> Split:
    """Read a category of MVTec LOCO, with its saturation areas.

    Args:
        folder: The category's folder.

    Returns:
        The category.

    Raises:
        FileError: A folder or defects_config.json is missing or damaged.
        ImageError: A bad photo has no mask.
    """
    truth = folder / "ground_truth"
    split = _read(
        folder, "good", lambda path, defect: _list_masks(find_entry(truth, f"{defect}/{path.stem}")), is_numbered=True
    )
    validation = tuple(find_images([folder / "validation" / "good"]))
    saturations = _read_saturations(folder / "defects_config.json")
    return dataclasses.replace(split, validation=validation, saturations=saturations)


def read_plain(folder: Path) -> Split:
    """Read a folder with good/ and, optionally, bad/.

    Every good photo can serve for learning or for testing. A photo that was learned from is not tested (`Split.tests`).

    Args:
        folder: The folder.

    Returns:
        Its photos as a category.

    Raises:
        FileError: There is no photo in good/ or bad/.
        ImageError: There is a folder masks/, and a bad photo does not have exactly one mask in it.
    """
    good = tuple(find_images([folder / "good"]))
    test = [Sample(path) for path in good]
    masks = MaskFolder(folder / "masks")
    bad = folder / "bad"
    for path in find_images([bad]) if bad.is_dir() else []:
        subfolder = path.parent.relative_to(bad).as_posix()
        of_photo = masks.find(path, subfolder) if masks.folder.is_dir() else ()
        test.append(Sample(path, "bad" if subfolder == "." else subfolder, of_photo))
    name = folder.resolve().name
    return Split(name, to_words(name), good, tuple(sorted(test, key=lambda sample: sample.path)))


def to_words(category: str) -> str:
    """Return a category's name as words, with spaces instead of underscores.

    Args:
        category: The category's name, such as "metal_nut".
    """
    return category.replace("_", " ")


class MaskFolder:
    """Masks in folders that are named after the defects.

    A mask is named after its photo, with or without a trailing _mask. Composed and decomposed letters in names match
    each other (Unicode NFC). Each folder is listed once.

    Args:
        folder: The folder of the defects' folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed: dict[Path, dict[str, list[Path]]] = {}

    def find(self, photo: Path, defect: str) -> tuple[Path, ...]:
        """Return the mask of a photo, as a tuple of one path.

        Args:
            photo: The bad photo.
            defect: The name of its defect, which is the name of the folder that holds its mask.

        Raises:
            ImageError: The folder does not hold exactly one mask of the photo.
        """
        folder = find_entry(self.folder, defect)
        masks, photos = self._list(folder), self._list(photo.parent)
        stem = compose(photo.stem)
        suffixed, parent = f"{stem}_mask", stem.removesuffix("_mask")
        of_photo = [*masks.get(suffixed, []), *masks.get(stem, [])]
        if suffixed in photos and f"{suffixed}_mask" not in masks:
            of_photo = masks.get(stem, [])  # <stem>_mask belongs to the photo of that name
        elif parent != stem and parent in photos and suffixed in masks:
            of_photo = masks[suffixed]  # <stem> is the mask of the photo `parent`
        if len(of_photo) != 1:
            raise ImageError(
                f"{printable(photo)}: {len(of_photo)} masks in {printable(folder)}, exactly one is needed: "
                f"{photo.stem}_mask.png or {photo.stem}.png"
            )
        return tuple(of_photo)

    def _list(self, folder: Path) -> dict[str, list[Path]]:
        """Return the pictures in a folder by their names without ending, in NFC."""
        if folder not in self._listed:
            pictures: defaultdict[str, list[Path]] = defaultdict(list)
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                if is_image_name(path.name):
                    pictures[compose(path.stem)].append(path)
            self._listed[folder] = dict(pictures)
        return self._listed[folder]


def compose(name: str) -> str:
    """Return a file's name in Unicode NFC, because some systems and archives store ö as o with two dots.

    Args:
        name: The name.
    """
    return unicodedata.normalize("NFC", name)


def find_entry(folder: Path, name: str) -> Path:
    """Return the path of this name in a folder; composed and decomposed letters match each other.

    Args:
        folder: The folder.
        name: The name, or several names separated by slashes.
    """
    for part in Path(name).parts:
        exact = folder / part
        if not exact.exists() and folder.is_dir():
            exact = next((entry for entry in folder.iterdir() if compose(entry.name) == compose(part)), exact)
        folder = exact
    return folder


def _read(folder: Path, good: str, masks: Masks, is_numbered: bool = False) -> Split:
    """Read a category with train/<good>, test/<good> and a folder test/<defect> for each defect."""
    if not (folder / "test").is_dir():
        raise FileError(f"{printable(folder)} has no folder test: a category has train and test")
    test = []
    for subfolder in sorted(path for path in (folder / "test").iterdir() if path.is_dir()):
        for path in find_images([subfolder]):
            if subfolder.name == good:
                test.append(Sample(path))
            else:
                test.append(Sample(path, subfolder.name, masks(path, subfolder.name), is_numbered))
    name = folder.resolve().name
    return Split(name, to_words(name), tuple(find_images([folder / "train" / good])), tuple(test))


def _list_masks(folder: Path) -> tuple[Path, ...]:
    """Return the masks in the folder of a LOCO photo."""
    try:
        return tuple(find_images([folder]))
    except FileError as error:
        raise ImageError(f"a photo's masks are missing: {error}") from error


class _Defect(msgspec.Struct):
    """An entry of defects_config.json."""

    defect_name: str
    pixel_value: int
    saturation_threshold: float
    relative_saturation: bool


def _read_saturations(path: Path) -> dict[int, Saturation]:
    try:
        defects = msgspec.json.decode(read_bytes(path), type=list[_Defect])
    except msgspec.DecodeError as error:
        raise FileError(
            f"{printable(path)} is not in MVTec LOCO's format: {error}; unpack the data set again"
        ) from error
    return {
        defect.pixel_value: Saturation(defect.defect_name, defect.saturation_threshold, defect.relative_saturation)
        for defect in defects
    }
