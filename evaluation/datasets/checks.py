"""Checks of a data set on the disk, before anything is measured on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from goodparts.runtime.core.errors import GoodpartsError
from goodparts.runtime.core.files import printable, sha256
from goodparts.runtime.core.preprocess import read_size

from .samples import Split
from .truth import check_size

Key = TypeVar("Key")


def check_split(split: Split) -> list[str]:
    """Return a line for each problem of a split: files that occur twice, and masks whose size is not their photo's.

    Args:
        split: The split.
    """
    train = {*split.train, *split.validation}
    lines = []
    for group in find_duplicates(split):
        leak = " (learned from and tested with)" if 0 < len(train.intersection(group)) < len(group) else ""
        lines.append(f"{split.category}: the same file{leak}: {' = '.join(map(printable, group))}")
    for sample in split.test:
        try:
            for mask in sample.masks:
                check_size(mask, read_size(mask), sample.path, read_size(sample.path))
        except GoodpartsError as error:
            lines.append(f"{split.category}: {error}")
    return lines


def find_duplicates(split: Split) -> list[tuple[Path, ...]]:
    """Return groups of photos whose files are equal byte for byte, sorted.

    Args:
        split: The split.
    """
    groups = []
    for same_size in _group_equal(split.photos(), lambda path: path.stat().st_size):
        groups += _group_equal(same_size, sha256)
    return sorted(groups)


def _group_equal(paths: Iterable[Path], key: Callable[[Path], Key]) -> list[tuple[Path, ...]]:
    """Return the groups of two or more paths with the same key."""
    groups: defaultdict[Key, list[Path]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return [tuple(sorted(group)) for group in groups.values() if len(group) > 1]
