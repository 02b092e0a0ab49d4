"""Layouts in which a file lists the photos of each split.

VisA: split_csv/1cls.csv with the columns object, split, label, image and mask. Paths start from the root. The values of
a mask number the defects, so every value above 0 is defective.

Real-IAD: realiad_jsons/<category>.json, or realiad_jsons/realiad_jsons/<category>.json as in the archive. Photos are in
realiad_1024, or in the folder of another size.

Sources: Zou et al., ECCV 2022, and its repository amazon-science/spot-diff (VisA); Wang et al., CVPR 2024, and the
files of its download (Real-IAD).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import msgspec
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.core.files import printable, read_bytes

from .folders import to_words
from .samples import Sample, Split

VISA_LIST = "split_csv/1cls.csv"
_VISA_COLUMNS = {"object", "split", "label", "image", "mask"}
_VISA_TEXTS = {"chewinggum": "chewing gum", "macaroni1": "macaroni", "macaroni2": "macaroni"} | dict.fromkeys(
    ("pcb1", "pcb2", "pcb3", "pcb4"), "printed circuit board"
)
"""Products in words, if the category's name is not a word. PromptAD uses the same words."""

REALIAD_LISTS = "realiad_jsons"
_REALIAD_PHOTOS = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw")
"""The folders of the published sizes; the first one that exists is read."""


def list_visa(root: Path) -> list[str]:
    """Return the categories of VisA, sorted.

    Args:
        root: The data set's folder.
    """
    return sorted({row["object"] for row in _read_rows(root / VISA_LIST)})


def read_visa(root: Path, category: str) -> Split:
    """Read a category of VisA in its one-class split.

    All defects have the name "anomaly", the only one in the list.

    Args:
        root: The data set's folder.
        category: The category's name.

    Returns:
        The category.

    Raises:
        FileError: The list is missing or damaged, lists a bad photo to learn from, or lists a file that does not exist.
    """
    path = root / VISA_LIST
    train, test = [], []
    for row in _read_rows(path):
        if row["object"] != category:
            continue
        photo, bad = _inside(root, row["image"], path), row["label"] != "normal"
        if row["split"] == "train" and not bad:
            train.append(photo)
        elif row["split"] == "test":
            masks = (_inside(root, row["mask"], path),) if bad else ()
            test.append(Sample(photo, row["label"] if bad else None, masks, is_numbered=True))
        else:
            raise FileError(
                f"{printable(path)}: {row['image']} has the label {row['label']} in the split {row['split']}: train "
                "accepts only normal, test accepts any label"
            )
    return _sorted(category, _VISA_TEXTS.get(category, to_words(category)), train, test)


def _read_rows(path: Path) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8-sig", "replace")))
    if missing := _VISA_COLUMNS - set(rows.fieldnames or ()):
        raise FileError(
            f"{printable(path)} lacks the columns {' '.join(sorted(missing))}: use the file that comes with VisA"
        )
    return list(rows)


class _Meta(msgspec.Struct):
    normal_class: str
    prefix: str


class _Entry(msgspec.Struct):
    anomaly_class: str
    image_path: str
    mask_path: str | None = None


class _Listing(msgspec.Struct):
    """A JSON file of Real-IAD."""

    meta: _Meta
    train: list[_Entry]
    test: list[_Entry]


def list_realiad(root: Path) -> list[str]:
    """Return the categories of Real-IAD, sorted.

    Args:
        root: The data set's folder.
    """
    return sorted(path.stem for path in _find_lists(root).glob("*.json"))


def read_realiad(root: Path, category: str) -> Split:
    """Read a category of Real-IAD.

    A bad photo has no mask if its defect is not marked in this camera's view.

    Args:
        root: The data set's folder.
        category: The category's name.

    Returns:
        The category.

    Raises:
        FileError: The list or the folder of photos is missing or damaged, or the list names a bad photo to learn from
            or a file that does not exist.
    """
    path = _find_lists(root) / f"{category}.json"
    try:
        listing = msgspec.json.decode(read_bytes(path), type=_Listing)
    except msgspec.DecodeError as error:
        raise FileError(f"{printable(path)} is not in Real-IAD's format: {error}; unpack the data set again") from error
    photos = next((root / name for name in _REALIAD_PHOTOS if (root / name).is_dir()), None)
    if photos is None:
        raise FileError(
            f"{printable(root)} has none of {' '.join(_REALIAD_PHOTOS)}: unpack one size of the photos there"
        )
    meta, test = listing.meta, []
    if noisy := [entry.image_path for entry in listing.train if entry.anomaly_class != meta.normal_class]:
        raise FileError(f"{printable(path)} lists {noisy[0]} to learn from, which is not {meta.normal_class}")
    folder = _inside(photos, meta.prefix, path)
    for entry in listing.test:
        bad = entry.anomaly_class != meta.normal_class
        masks = (_inside(folder, entry.mask_path, path),) if bad and entry.mask_path else ()
        test.append(Sample(_inside(folder, entry.image_path, path), entry.anomaly_class if bad else None, masks))
    train = [_inside(folder, entry.image_path, path) for entry in listing.train]
    return _sorted(category, to_words(category), train, test)


def _find_lists(root: Path) -> Path:
    """Return the folder of the lists, which lies in a folder of the same name in the archive."""
    inner = root / REALIAD_LISTS / REALIAD_LISTS
    return inner if inner.is_dir() else root / REALIAD_LISTS


def _inside(root: Path, listed: str, by: Path) -> Path:
    """Return a path that the file `by` lists; raise FileError if it leads out of the data set."""
    path = PurePosixPath(listed)
    if not listed or path.is_absolute() or ".." in path.parts:
        raise FileError(f"{printable(by)} lists {listed!r}: only paths within the data set are accepted")
    return root / path


def _sorted(category: str, text: str, train: list[Path], test: list[Sample]) -> Split:
    """Return a split sorted by path; raise FileError for a listed file that does not exist."""
    listed: Iterable[Path] = (*train, *(path for sample in test for path in (sample.path, *sample.masks)))
    if missing := [path for path in listed if not path.is_file()]:
        raise FileError(f"{category}: {len(missing)} listed files do not exist, the first is {printable(missing[0])}")
    return Split(category, text, tuple(sorted(train)), tuple(sorted(test, key=lambda sample: sample.path)))
