"""How one source is inspected: its recipe, and what takes the place of the recipe's own values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.view import Box, read_mask
from ..detector import Detector
from ..engine.engine import Engine
from ..recipe.header import Thresholds
from ..recipe.recipe import Recipe
from ..recipe.signing import Trust
from .settings import SourceSettings


@dataclass(frozen=True)
class InspectionSettings:
    """How one source is inspected.

    recipe: file of its recipe; threshold, pixel_threshold: what the recipe's own are multiplied by, None to leave them;
    roi and mask (a mask as View.mask holds it): take the place of the recipe's, unless they are None; smoothing: n and
    m, reject while n of the last m frames are rejected; trust: the keys one of which must have signed the recipe, None
    to take any recipe.
    """

    recipe: Path
    threshold: float | None = None
    pixel_threshold: float | None = None
    roi: Box | None = None
    mask: bytes | None = None
    smoothing: tuple[int, int] = (1, 1)
    trust: Trust | None = None

    @classmethod
    def of(cls, source: SourceSettings, trust: Trust | None) -> InspectionSettings:
        """Read what a line's settings name for a source. Raises what read_mask raises."""
        return cls(
            recipe=Path(source.recipe).absolute(),  # read again after a change, whatever the working folder is then
            threshold=source.threshold,
            pixel_threshold=source.pixel_threshold,
            roi=None if source.roi is None else Box(*source.roi),
            mask=None if source.mask is None else read_mask(Path(source.mask)),
            smoothing=source.smoothing,
            trust=trust,
        )

    def open_detector(self, engine: Engine) -> Detector:
        """Open the recipe's file and return its detector. Raises what Recipe.open and Detector raise."""
        return self.make_detector(engine, Recipe.open(self.recipe, self.trust))

    def make_detector(self, engine: Engine, recipe: Recipe) -> Detector:
        """Return a detector of the recipe with these settings in the place of its own; its digest stays the file's.

        With another region or mask it does not know the scene, of which the recipe has learned its own part.
        """
        view = msgspec.structs.replace(recipe.header.view, **_given(roi=self.roi, mask=self.mask))
        scene = recipe.header.scene if view == recipe.header.view else msgspec.UNSET
        header = msgspec.structs.replace(recipe.header, view=view, scene=scene)
        detector = Detector(engine, dataclasses.replace(recipe, header=header))
        detector.thresholds = self.replace_in(detector.thresholds)
        return detector

    def replace_in(self, thresholds: Thresholds) -> Thresholds:
        """Return a recipe's thresholds, moved as these settings say.

        Where only the image threshold is moved, the pixel threshold moves along. Raises SettingsError for a factor that
        is not a finite number above 0.
        """
        moved = thresholds if self.threshold is None else thresholds.scaled_by(self.threshold)
        if self.pixel_threshold is None:
            return moved
        return msgspec.structs.replace(moved, pixel=thresholds.scaled_by(self.pixel_threshold).pixel)


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
