"""The header of a recipe: everything but its arrays."""

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
"""The version of a recipe without conditions."""
PROMPTED_VERSION = 4
"""The version of a recipe with conditions, which needs a prompted graph. A reader of version 3 cannot score it."""

MAX_RESIDUAL_WEIGHT = 20.0
"""The largest weight of the residual margin. A margin is at most 4, so no score overflows."""


class Shot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A photo that the product was learned from.

    Attributes:
        name: The name of its file.
        sha256: The SHA-256 of its file.
    """

    name: str
    sha256: str


Verdict = Literal["good", "review", "reject"]
"""The verdict on a frame. A part to review is not rejected, but a person should look at it."""


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The raw scores at which a part is rejected and a region is outlined.

    People see a part's score as a share of the image threshold: a part is rejected at 1.

    Attributes:
        image: The raw image score at which a part is rejected, above 0.
        pixel: The raw pixel score at which a region is outlined, above 0.
        min_area: The smallest region to report, in pixels of the frame.
        review: The score, as a share of the image threshold, at which a part that is not rejected is to be reviewed,
            above 0 and below 1; None for no review.
    """

    image: float
    pixel: float
    min_area: float = 0.0
    review: float | None = None

    def scaled_by(self, factor: float) -> Thresholds:
        """Return the thresholds with the image and the pixel threshold multiplied by a factor.

        If only the image threshold were raised, a part that passes by it could still have outlined defects.

        Args:
            factor: The factor, above 0.

        Raises:
            SettingsError: The factor is not a finite number above 0.
        """
        check_factor(factor)
        return msgspec.structs.replace(self, image=self.image * factor, pixel=self.pixel * factor)

    def score(self, raw_score: float) -> float:
        """Return an image score as a share of the image threshold.

        Args:
            raw_score: The raw image score.
        """
        return raw_score / self.image

    def verdict(self, raw_score: float) -> Verdict:
        """Return the verdict on a part.

        Args:
            raw_score: Its raw image score.
        """
        score = self.score(raw_score)
        if score >= 1.0:
            return "reject"
        return "good" if self.review is None or score < self.review else "review"

    def check(self) -> None:
        """Check every value.

        `image` and `pixel` are finite and above 0, `min_area` is finite and 0 or more, `review` is None or above 0 and
        below 1.

        Raises:
            SettingsError: A value is out of range.
        """
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
    """Check a factor that thresholds are to be multiplied by.

    Args:
        factor: The factor to check.

    Raises:
        SettingsError: The factor is not a finite number above 0.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise SettingsError(
            f"threshold {factor}: a finite number above 0 is needed, as a multiple of the recipe's threshold: "
            "with 1.2, parts that now score below 1.2 pass"
        )


class Accepted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The photos that an operator accepted. They are the last of the recipe's shots (accept.py).

    Attributes:
        accepts: How many photos each accept added, oldest first.
        max_rows: The most rows that a bank may hold. Those of the learned shots always stay.
        learned: The calibration on the learned shots only.
        learned_scene: The scene of the learned shots only; unset if the recipe had none.
    """

    accepts: tuple[int, ...]
    max_rows: int
    learned: Calibration
    learned_scene: Scene | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if not self.accepts or min(self.accepts) < 1:
            raise ValueError(f"accepts {list(self.accepts)}: each is of one photo or more")


class RecipeHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything in a recipe but its arrays.

    Attributes:
        version: FORMAT_VERSION, or PROMPTED_VERSION for a recipe with conditions.
        product: The product's name.
        method: The method that learned it.
        protocol: Whether the paper ("clean") or PromptAD's released code ("official") was followed.
        settings: The method's settings, as it resolved them.
        encoder: The encoder that the recipe fits.
        graph: The id of the graph that memory and calibration were computed with (EngineSpec.graph_id).
        view: Which part of a frame is inspected, and in how many tiles.
        temperature: The multiplier of the prompts' cosines (scoring.Learned).
        image_maximum: How the memory's image score is computed (scoring.Learned).
        fusion: The inputs of the score: both branches' raw scores ("paper"), the memory's distance and the prompts'
            residual margin ("residual"), one branch only ("prompt", "memory"), or the distance from the memory's
            subspace ("subspace").
        residual_weight: The weight of the residual margin, 0 to MAX_RESIDUAL_WEIGHT.
        memory_share: The share of the shots' patches that the banks hold.
        shots: The photos that the product was learned from, and then those that were accepted.
        shot_calibration: The calibration on the shots themselves.
        calibration: The calibration that the thresholds follow from: the one on the shots, or one on further photos or
            unlabelled parts.
        false_reject_rate: The share of good parts that may be rejected, for which the thresholds were set.
        thresholds: The raw image and pixel thresholds, the smallest region, and the review score.
        seed: The seed of everything that was drawn at random.
        versions: Library → the version that made the recipe.
        poses: Whether the shots are remembered turned and mirrored too.
        accepted: The photos that were accepted on the line; unset if there are none.
        scene: The scene that the shots show; unset if none was learned.
        signature: The signature of the file that this was read from, 128 hexadecimal digits; unset if it is unsigned.
        digest: The digest of the file that this was read from.
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
            raise ValueError(f"{len(self.shots)} shots: at least one that was not accepted later is needed")
        if not 0 < self.false_reject_rate < 0.5:
            raise ValueError(f"false_reject_rate {self.false_reject_rate}: between 0 and 0.5 is accepted")
        if not 0 <= self.residual_weight <= MAX_RESIDUAL_WEIGHT:
            raise ValueError(f"residual_weight {self.residual_weight}: from 0 to {MAX_RESIDUAL_WEIGHT} is accepted")
        if self.image_maximum == "top" and self.fusion not in ("memory", "subspace"):
            raise ValueError(
                f"image_maximum 'top' with fusion {self.fusion!r}: only the fusions memory and subspace have it"
            )
        if self.scene and self.scene.views != self.view.count:
            raise ValueError(f"a scene of {self.scene.views} views: a photo has {self.view.count}")

    @property
    def learned_shots(self) -> int:
        """The number of shots that were learned from. The other shots were accepted later."""
        return len(self.shots) - (sum(self.accepted.accepts) if self.accepted else 0)

    @property
    def rows_per_photo(self) -> int:
        """The number of patches of a photo, over its tiles and poses."""
        return self.view.count * self.encoder.grid[0] * self.encoder.grid[1] * (POSES if self.poses else 1)

    @property
    def is_provisional(self) -> bool:
        """Whether the threshold rests on copies of a single photo, which do not tell how much good parts differ."""
        return self.calibration.source == "copies" and self.has_calibrated_threshold

    @property
    def has_calibrated_threshold(self) -> bool:
        """Whether the image threshold follows from the calibration, and was not set by hand."""
        return self.thresholds.image == self.calibration.image.threshold(self.false_reject_rate)

    def follow(self, calibration: Calibration, others: Thresholds) -> Thresholds:
        """Return the recipe's thresholds moved to another calibration.

        A threshold that follows from the present calibration is replaced by the one that follows from the other. Any
        other threshold was set by hand, and is taken from `others`.

        Args:
            calibration: The other calibration.
            others: The image and pixel thresholds to take where they were set by hand.
        """
        rate, now = self.false_reject_rate, self.calibration
        image, pixel = self.thresholds.image, self.thresholds.pixel
        return Thresholds(
            image=calibration.image.threshold(rate) if image == now.image.threshold(rate) else others.image,
            pixel=calibration.pixel.threshold(rate) if pixel == now.pixel.threshold(rate) else others.pixel,
            min_area=self.thresholds.min_area,
            review=self.thresholds.review,
        )
