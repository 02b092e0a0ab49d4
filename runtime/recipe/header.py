"""What a recipe says beside its arrays: product, shots, thresholds, and how all of it came about."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from ..core.errors import SettingsError
from ..core.files import NO_DIGEST
from ..core.scene import Scene
from ..core.scoring import Scales
from ..core.view import View
from ..engine.spec import Encoder
from .calibrate import Calibration
from .memory import Fusion

FORMAT_VERSION = 1
PROMPTED_VERSION = 2
"""Of a recipe with conditions, for an engine's prompted graph: who knows version 1 alone could not score with it."""


class Shot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A photo the product was learned from: file name and SHA-256 of the file."""

    name: str
    sha256: str


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raw scores from which a part is rejected (image) and a region is outlined (pixel).

    min_area: smallest region to report, in frame pixels.
    """

    image: float
    pixel: float
    min_area: float = 0.0

    def scaled_to(self, image: float) -> Thresholds:
        """Return the thresholds with another image threshold; the pixel threshold keeps its ratio to it.

        Without that, parts that a higher image threshold lets pass as good would still have outlined defects.
        """
        return msgspec.structs.replace(self, image=image, pixel=self.pixel * (image / self.image))

    def check(self) -> None:
        """SettingsError for values that would decide nothing."""
        for name in ("image", "pixel"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SettingsError(f"{name} threshold {value}: a finite number above 0 is needed")
        if not (math.isfinite(self.min_area) and self.min_area >= 0):
            raise SettingsError(f"min_area {self.min_area}: 0 or more frame pixels are needed")


class Accepted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Photos that an operator said are good, the last of the recipe's shots (accept.py).

    accepts: how many photos each accept added, oldest first; max_rows: most rows that a bank may hold, those of the
    learned shots always among them; learned: the calibration on these alone; learned_scene: the scene of these alone,
    unset where the recipe had none.
    """

    accepts: tuple[int, ...]
    max_rows: int
    learned: Calibration
    learned_scene: Scene | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if not self.accepts or min(self.accepts) < 1:
            raise ValueError(f"accepts {list(self.accepts)}: each is of one photo or more")


class RecipeHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a recipe but its arrays.

    version: FORMAT_VERSION, or PROMPTED_VERSION where there are conditions; graph: the graph id that banks and
    calibration were computed with (EngineSpec.graph_id); settings: of the method, as it resolved them; image_maximum
    and temperature: see scoring.Learned; fusion: of raw scores ("paper"), of each divided by its scale ("balanced"), or
    one branch alone ("prompt", "memory"); memory_share: of the shots' patches that the banks hold; shot_calibration: on
    the shots themselves; calibration: the one that thresholds follow, the same or one on further photos;
    false_reject_rate: what the thresholds were set for; accepted: which of the shots were added on the line; scene:
    what the shots show, unset in recipes of earlier versions; signature, digest: of the file this was read from.
    """

    version: int
    product: str
    method: str
    protocol: Literal["clean", "official"]
    settings: dict[str, Any]
    encoder: Encoder
    graph: str
    view: View
    temperature: float
    image_maximum: Literal["grid", "map"]
    fusion: Fusion
    scales: Scales
    memory_share: float
    shots: tuple[Shot, ...]
    shot_calibration: Calibration
    calibration: Calibration
    false_reject_rate: float
    thresholds: Thresholds
    seed: int
    versions: dict[str, str]
    accepted: Accepted | msgspec.UnsetType = msgspec.UNSET
    scene: Scene | msgspec.UnsetType = msgspec.UNSET
    signature: str | msgspec.UnsetType = msgspec.UNSET
    digest: str = NO_DIGEST

    def __post_init__(self) -> None:
        if self.learned_shots < 1:
            raise ValueError(f"{len(self.shots)} shots: at least one is learned from, besides accepted ones")
        if not 0 < self.false_reject_rate < 0.5:
            raise ValueError(f"false_reject_rate {self.false_reject_rate}: between 0 and 0.5 is accepted")
        if min(msgspec.structs.astuple(self.scales)) <= 0:
            raise ValueError(f"{self.scales}: scores are divided by them, so they are above 0")
        if self.scene and self.scene.views != self.view.count:
            raise ValueError(f"a scene of {self.scene.views} views: a photo has {self.view.count}")

    @property
    def learned_shots(self) -> int:
        """How many of the shots were learned from; the others were accepted later."""
        return len(self.shots) - (sum(self.accepted.accepts) if self.accepted else 0)

    def follow(self, calibration: Calibration, others: Thresholds) -> Thresholds:
        """Thresholds for another calibration, where these are what the present one gives; else those of `others`."""
        rate, now = self.false_reject_rate, self.calibration
        image, pixel = self.thresholds.image, self.thresholds.pixel
        return Thresholds(
            image=calibration.image.threshold(rate) if image == now.image.threshold(rate) else others.image,
            pixel=calibration.pixel.threshold(rate) if pixel == now.pixel.threshold(rate) else others.pixel,
            min_area=self.thresholds.min_area,
        )
