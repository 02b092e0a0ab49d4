"""Which good photos are learned from: the same ones on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.files import printable, sha256
from goodparts.runtime.recipe.header import Shot

SHOT_COUNTS = (1, 2, 4, 8, 16)
"""What tables are made of."""


@dataclass(frozen=True)
class Shots:
    """The photos, sorted; as a recipe lists them, name and SHA-256 of each file; and the SHA-256 of that list."""

    paths: tuple[Path, ...]
    manifest: tuple[Shot, ...]
    digest: str


def choose_shots(photos: Sequence[Path], count: int, seed: int) -> Shots:
    """Draw `count` photos of different content.

    Those whose names, hashed with the seed, come first: independent of the order of `photos`, of their folder, and of
    any library's random numbers. A draw of more photos contains the draws of fewer with the same seed.

    Raises SettingsError when there are not so many different photos.
    """
    chosen: dict[str, Path] = {}
    for path in sorted(photos, key=lambda path: (_rank(path, seed), path)):
        if len(chosen) >= count:
            break
        chosen.setdefault(sha256(path), path)
    if not 1 <= count <= len(chosen):
        raise SettingsError(
            f"{count} shots: there are {len(photos)} good photos; 1 to {_different(photos)} can be drawn"
        )
    drawn = sorted((path, digest) for digest, path in chosen.items())
    manifest = tuple(Shot(printable(Path(path.name)), digest) for path, digest in drawn)
    lines = "".join(f"{shot.sha256}  {shot.name}\n" for shot in manifest)
    return Shots(tuple(path for path, _ in drawn), manifest, hashlib.sha256(lines.encode()).hexdigest())


def _rank(path: Path, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {printable(Path(path.name))}".encode()).digest()


def _different(photos: Sequence[Path]) -> int:
    return len({sha256(path) for path in photos})
