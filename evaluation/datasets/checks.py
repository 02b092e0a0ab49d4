"""What is wrong with a data set as it lies on the disk, before it is measured on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from goodparts.runtime.core.errors import ImageError
from goodparts.runtime.core.files import printable, sha256

from .samples import Split
from .truth import check_size, read_size

Key = TypeVar("Key")


def check_split(split: Split) -> list[str]:
    """A line for everything to know before trusting a number: photos that stand twice, masks of another size."""
    train = {*split.train, *split.validation}
    lines = []
    for same in find_duplicates(split):
        leak = " (learned from and tested with)" if 0 < len(train.intersection(same)) < len(same) else ""
        lines.append(f"{split.category}: the same file{leak}: {' = '.join(map(printable, same))}")
    for sample in split.test:
        try:
            for mask in sample.masks:
                check_size(mask, read_size(mask), sample.path, read_size(sample.path))
        except ImageError as error:
            lines.append(f"{split.category}: {error}")
    return lines


def find_duplicates(split: Split) -> list[tuple[Path, ...]]:
    """Photos whose files are the same byte for byte, in groups, by SHA-256; sorted."""
    groups = []
    for alike in _group(split.photos(), lambda path: path.stat().st_size):
        groups += _group(alike, sha256)
    return sorted(groups)


def _group(paths: Iterable[Path], key: Callable[[Path], Key]) -> list[tuple[Path, ...]]:
    """Those that share a key with another."""
    found: defaultdict[Key, list[Path]] = defaultdict(list)
    for path in paths:
        found[key(path)].append(path)
    return [tuple(sorted(group)) for group in found.values() if len(group) > 1]
