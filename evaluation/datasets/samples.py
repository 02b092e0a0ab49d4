"""The content of a category of a data set: photos, their defects, and the masks that mark the defects."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from goodparts.runtime.core.files import printable, sha256


@dataclass(frozen=True)
class Sample:
    """A photo to test with.

    Attributes:
        path: The photo.
        defect: The data set's name of the defect, or None for a good part.
        masks: The files that mark the defect: none for a good part, and several if each defect has its own.
        is_numbered: Whether a mask's values number the defects, so that every value above 0 is defective. Otherwise a
            mask has a dark and a bright part (runtime/core/masks.py).
    """

    path: Path
    defect: str | None = None
    masks: tuple[Path, ...] = ()
    is_numbered: bool = False

    @property
    def bad(self) -> bool:
        """Whether the part is bad."""
        return self.defect is not None

    @property
    def marked(self) -> bool:
        """Whether the defective pixels are known, which is always true of a good part."""
        return not self.bad or bool(self.masks)


@dataclass(frozen=True)
class Saturation:
    """The area from which a defect counts as found (Bergmann et al., Beyond Dents and Scratches, IJCV 2022).

    Attributes:
        defect: The name of the defect.
        threshold: The area in pixels or, if `relative`, as a share of the defect's area.
        relative: Whether the area is a share.
    """

    defect: str
    threshold: float
    relative: bool

    def area(self, pixels: int) -> int:
        """Return the area in pixels, at least 1 and at most the defect's own.

        Args:
            pixels: The defect's area in pixels.
        """
        stated = self.threshold * pixels if self.relative else self.threshold
        return max(1, min(int(stated), pixels))


@dataclass(frozen=True)
class Split:
    """A category; every list is sorted by path.

    Attributes:
        category: The category's name.
        text: The product in words.
        train: Good photos to learn from.
        test: Good and bad photos to test with.
        validation: Further good photos, which are neither learned from nor tested.
        saturations: Saturation areas by the mask value of the defect; None if the data set states none.
    """

    category: str
    text: str
    train: tuple[Path, ...]
    test: tuple[Sample, ...]
    validation: tuple[Path, ...] = ()
    saturations: Mapping[int, Saturation] | None = field(default=None, hash=False)

    def tests(self, shots: Collection[Path] = ()) -> tuple[Sample, ...]:
        """Return the test photos that were not learned from; a plain layout tests its good photos as well.

        Args:
            shots: The photos that were learned from.
        """
        learned = set(shots)
        return tuple(sample for sample in self.test if sample.path not in learned)

    def photos(self) -> tuple[Path, ...]:
        """Return every photo of the split once."""
        return tuple(dict.fromkeys((*self.train, *self.validation, *(sample.path for sample in self.test))))

    def digest(self) -> str:
        """Return the SHA-256 of the lists and of every file in them; the folder of the data set does not matter."""
        saturations = sorted((self.saturations or {}).items(), key=lambda item: item[0])
        lines: list[object] = [self.category, self.text, saturations]
        for role, paths in (("train", self.train), ("validation", self.validation)):
            lines += [[role, printable(Path(path.name)), sha256(path)] for path in paths]
        for sample in self.test:
            files = [sha256(path) for path in (sample.path, *sample.masks)]
            defect = None if sample.defect is None else printable(Path(sample.defect))
            lines.append(["test", printable(Path(sample.path.name)), defect, sample.is_numbered, files])
        return hashlib.sha256(msgspec.json.encode(lines)).hexdigest()
