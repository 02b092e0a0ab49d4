"""The choice of good photos to learn from, which is the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.files import printable, sha256
from goodparts.runtime.recipe.header import Shot

SHOT_COUNTS = (1, 2, 4, 8, 16)
"""The numbers of shots that are measured by default."""


@dataclass(frozen=True)
class ChosenShots:
    """Photos that were drawn to learn from.

    Attributes:
        paths: The photos, sorted.
        manifest: Their names and SHA-256, as a recipe lists them.
        digest: The SHA-256 of that list.
    """

    paths: tuple[Path, ...]
    manifest: tuple[Shot, ...]
    digest: str


def choose_shots(photos: Sequence[Path], count: int, seed: int) -> ChosenShots:
    """Draw photos of different content.

    The draw takes the photos with the smallest hashes of seed and name. The draw does not depend on the order of
    `photos`, on their folder, or on a library's random numbers. A draw of more photos with the same seed contains the
    smaller draws.

    Args:
        photos: The photos to draw from.
        count: The number of photos to draw, at least 1.
        seed: The seed.

    Returns:
        The drawn photos.

    Raises:
        SettingsError: `count` is below 1, or above the number of different photos.
    """
    by_digest: dict[str, Path] = {}
    for path in sorted(photos, key=lambda path: (_rank(path, seed), path)):
        if len(by_digest) >= count:
            break
        by_digest.setdefault(sha256(path), path)
    if not 1 <= count <= len(by_digest):
        different = len({sha256(path) for path in photos})
        raise SettingsError(f"{count} shots: there are {len(photos)} good photos; 1 to {different} can be drawn")
    drawn = sorted((path, digest) for digest, path in by_digest.items())
    manifest = tuple(Shot(printable(Path(path.name)), digest) for path, digest in drawn)
    lines = "".join(f"{shot.sha256}  {shot.name}\n" for shot in manifest)
    return ChosenShots(tuple(path for path, _ in drawn), manifest, hashlib.sha256(lines.encode()).hexdigest())


def _rank(path: Path, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {printable(Path(path.name))}".encode()).digest()
