"""How one source is inspected: its recipe, and the settings that replace the recipe's own values."""

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

    Attributes:
        recipe: The file of its recipe.
        threshold: A factor by which the recipe's image threshold is multiplied; None keeps it.
        pixel_threshold: The factor for the recipe's pixel threshold; None takes `threshold` for it too.
        roi: The region that replaces the recipe's, in pixels of the frame; None keeps the recipe's.
        mask: The mask that replaces the recipe's, in the form of View.mask; None keeps the recipe's.
        smoothing: n and m: the decision is reject while n of the last m frames are rejected.
        trust: The accepted public keys; one of them must have signed the recipe. None accepts every recipe.
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
        """Take the settings of a source from a line's settings, and read its mask.

        Args:
            source: The source's settings.
            trust: The accepted public keys; one of them must have signed the recipe. None accepts every recipe.

        Returns:
            The settings of the inspection. The recipe is not opened yet.

        Raises:
            GoodpartsError: The mask cannot be read.
        """
        return cls(
            recipe=Path(source.recipe).absolute(),  # it is read again later, perhaps from another working folder
            threshold=source.threshold,
            pixel_threshold=source.pixel_threshold,
            roi=None if source.roi is None else Box(*source.roi),
            mask=None if source.mask is None else read_mask(Path(source.mask)),
            smoothing=source.smoothing,
            trust=trust,
        )

    def open_detector(self, engine: Engine) -> Detector:
        """Open the recipe's file and make its detector.

        Args:
            engine: The engine that the detector uses.

        Returns:
            The detector, as `make_detector` makes it.

        Raises:
            GoodpartsError: The recipe cannot be read, is not signed by a trusted key, or does not fit the engine.
        """
        return self.make_detector(engine, Recipe.open(self.recipe, self.trust))

    def make_detector(self, engine: Engine, recipe: Recipe) -> Detector:
        """Return a detector of the recipe, in which these settings replace the recipe's own.

        The digest of its recipe stays the file's. With another region or mask the detector does not watch the scene,
        because the recipe has learned the scene within its own region and mask.

        Args:
            engine: The engine that the detector uses.
            recipe: The recipe, already opened and checked.
        """
        view = msgspec.structs.replace(recipe.header.view, **_given(roi=self.roi, mask=self.mask))
        scene = recipe.header.scene if view == recipe.header.view else msgspec.UNSET
        header = msgspec.structs.replace(recipe.header, view=view, scene=scene)
        detector = Detector(engine, dataclasses.replace(recipe, header=header))
        detector.thresholds = self.replace_in(detector.thresholds)
        return detector

    def replace_in(self, thresholds: Thresholds) -> Thresholds:
        """Return a recipe's thresholds, multiplied by the factors of these settings.

        If there is a factor for the image threshold only, the pixel threshold is multiplied by it too.

        Args:
            thresholds: The recipe's own thresholds.

        Raises:
            SettingsError: A factor is not a finite number above 0.
        """
        moved = thresholds if self.threshold is None else thresholds.scaled_by(self.threshold)
        if self.pixel_threshold is None:
            return moved
        return msgspec.structs.replace(moved, pixel=thresholds.scaled_by(self.pixel_threshold).pixel)


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
