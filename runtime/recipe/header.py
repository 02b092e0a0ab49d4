"""What a recipe says beside its arrays: product, shots, thresholds, and how all of it came about."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from ..core.errors import SettingsError
from ..core.files import NO_DIGEST
from ..core.scene import Scene
from ..core.scoring import Fusion, ImageMaximum
from ..core.view import View
from ..engine.spec import Encoder
from .calibrate import Calibration
from .memory import POSES

FORMAT_VERSION = 3
PROMPTED_VERSION = 4
"""The version of a recipe with conditions, which needs a prompted graph; a reader of version 3 cannot score it."""

MAX_RESIDUAL_WEIGHT = 20.0
"""No score overflows up to it: a residual margin is a difference of cosines, at most 4."""


class Shot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A photo the product was learned from: file name and SHA-256 of the file."""

    name: str
    sha256: str


Verdict = Literal["good", "review", "reject"]


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raw scores from which a part is rejected (image) and a region is outlined (pixel).

    People are shown a part's score as a share of the image threshold: 1 is the limit.

    min_area: smallest region to report, in frame pixels; review: score, as a share of the image threshold, from which
    a part that is not rejected is for a person to look at, above 0 and below 1; None for no such band.
    """

    image: float
    pixel: float
    min_area: float = 0.0
    review: float | None = None

    def scaled_by(self, factor: float) -> Thresholds:
        """Return the thresholds with the image and the pixel threshold multiplied by a factor.

        Both move, for else parts that a higher image threshold lets pass as good would still have outlined defects.
        Raises SettingsError for a factor that is not a finite number above 0.
        """
        check_factor(factor)
        return msgspec.structs.replace(self, image=self.image * factor, pixel=self.pixel * factor)

    def score(self, raw_score: float) -> float:
        """Return an image score as a share of the image threshold: 1 is the limit."""
        return raw_score / self.image

    def verdict(self, raw_score: float) -> Verdict:
        """Return the verdict on a part with this raw image score."""
        score = self.score(raw_score)
        if score >= 1.0:
            return "reject"
        return "good" if self.review is None or score < self.review else "review"

    def check(self) -> None:
        """Raise SettingsError for values that would decide nothing."""
        if self.review is not None and not 0.0 < self.review < 1.0:
            raise SettingsError(
                f"review {self.review}: a score above 0 and below 1 is needed, as in 0.8; 1 is where parts are rejected"
            )
        for name in ("image", "pixel"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SettingsError(f"{name} threshold {value}: a finite number above 0 is needed")
        if not (math.isfinite(self.min_area) and self.min_area >= 0):
            raise SettingsError(f"min_area {self.min_area}: 0 or more frame pixels are needed")


def check_factor(factor: float) -> None:
    """Raise SettingsError for a factor that cannot move a threshold."""
    if not (math.isfinite(factor) and factor > 0):
        raise SettingsError(
            f"threshold {factor}: a finite number above 0 is needed, as a multiple of the recipe's limit: "
            "1.2 lets parts pass that score up to 1.2 now"
        )


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
    and temperature: see scoring.Learned; fusion: of raw scores ("paper"), of the memory's distance and the prompts'
    residual margin ("residual"), one branch only ("prompt", "memory"), or the distance from the subspace of the memory
    ("subspace"); residual_weight: of that margin;
    memory_share: of the shots' patches that the banks hold; shot_calibration: on the shots themselves; calibration: the
    one that thresholds follow, the same or one on further photos; false_reject_rate: what the thresholds were set for;
    poses: whether the shots are remembered turned and mirrored too; accepted: which of the shots were added on the
    line; scene: what the shots show; signature, digest: of the file this was read from.
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
    image_maximum: ImageMaximum
    fusion: Fusion
    residual_weight: float
    memory_share: float
    shots: tuple[Shot, ...]
    shot_calibration: Calibration
    calibration: Calibration
    false_reject_rate: float
    thresholds: Thresholds
    seed: int
    versions: dict[str, str]
    poses: bool = False
    accepted: Accepted | msgspec.UnsetType = msgspec.UNSET
    scene: Scene | msgspec.UnsetType = msgspec.UNSET
    signature: str | msgspec.UnsetType = msgspec.UNSET
    digest: str = NO_DIGEST

    def __post_init__(self) -> None:
        if self.learned_shots < 1:
            raise ValueError(f"{len(self.shots)} shots: at least one is learned from, besides accepted ones")
        if not 0 < self.false_reject_rate < 0.5:
            raise ValueError(f"false_reject_rate {self.false_reject_rate}: between 0 and 0.5 is accepted")
        if not 0 <= self.residual_weight <= MAX_RESIDUAL_WEIGHT:
            raise ValueError(f"residual_weight {self.residual_weight}: from 0 to {MAX_RESIDUAL_WEIGHT} is accepted")
        if self.image_maximum == "top" and self.fusion not in ("memory", "subspace"):
            raise ValueError(
                f"image_maximum 'top' with fusion {self.fusion!r}: only scores of the memory alone have it"
            )
        if self.scene and self.scene.views != self.view.count:
            raise ValueError(f"a scene of {self.scene.views} views: a photo has {self.view.count}")

    @property
    def learned_shots(self) -> int:
        """How many of the shots were learned from; the others were accepted later."""
        return len(self.shots) - (sum(self.accepted.accepts) if self.accepted else 0)

    @property
    def rows_per_photo(self) -> int:
        """How many patches a photo has, over its tiles and poses."""
        return self.view.count * self.encoder.grid[0] * self.encoder.grid[1] * (POSES if self.poses else 1)

    @property
    def is_provisional(self) -> bool:
        """Whether the threshold rests on copies of a single photo, which tell nothing of how parts differ."""
        level = self.calibration.image
        return self.calibration.source == "copies" and self.thresholds.image == level.threshold(self.false_reject_rate)

    def follow(self, calibration: Calibration, others: Thresholds) -> Thresholds:
        """Return another calibration's thresholds where these are what the present one gives, else `others`."""
        rate, now = self.false_reject_rate, self.calibration
        image, pixel = self.thresholds.image, self.thresholds.pixel
        return Thresholds(
            image=calibration.image.threshold(rate) if image == now.image.threshold(rate) else others.image,
            pixel=calibration.pixel.threshold(rate) if pixel == now.pixel.threshold(rate) else others.pixel,
            min_area=self.thresholds.min_area,
            review=self.thresholds.review,
        )
