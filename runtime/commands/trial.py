"""Learns a product from some photos of a folder, and inspects the others."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.errors import GoodpartsError, SettingsError
from ..core.files import printable, sha256
from ..core.image_files import find_images
from ..core.preprocess import load_rgb
from ..core.view import View
from ..detector import Detector
from ..engine.engine import Engine
from ..recipe.calibrate import FALSE_REJECT_RATE, Separation, separate
from ..recipe.recalibrate import recalibrate
from ..recipe.settle import SETTLING_RATE
from ..recipe.teach import teach

log = logging.getLogger(__name__)

SHOTS = 4
"""The number of photos that are learned from by default."""


class TryPhotos(NamedTuple):
    """The photos of a folder.

    Attributes:
        folder: The folder of the good parts' photos that are learned from.
        good: The photos of good parts, in the order in which they are learned from.
        bad: The photos of bad parts.
        bad_folders: The folders of the bad parts' photos.
    """

    folder: Path
    good: list[Path]
    bad: list[Path]
    bad_folders: list[Path]


class TriedThreshold(NamedTuple):
    """A threshold, and the photos that set it.

    Attributes:
        basis: The photos that it rests on, in words, such as "4 good photos".
        raw: The raw image score from which a part is rejected.
    """

    basis: str
    raw: float


@dataclass(frozen=True, eq=False)
class Trial:
    """The results of trying a product.

    Attributes:
        product: The product's name.
        folder: The folder that was tried.
        images: The folder of the shots, for `goodparts teach --images`.
        bad_folders: The folders of the bad parts' photos, for `goodparts calibrate --bad`.
        detector: The product's detector, with the first of `thresholds`.
        shots: The photos that were learned from.
        photos: The photos that were inspected, N of them.
        bad: Whether each shows a bad part, bool [N].
        raw_scores: Their raw image scores [N].
        unreadable: The photos that could not be inspected, each with the reason.
        thresholds: The thresholds that were tried, the one from the shots first.
        patch: The height and width of a patch, in pixels of the first shot.
        seconds: The time that learning took.
        milliseconds: The median time that inspecting a photo took.
        options: The options of a command that learns the product in the same way.
    """

    product: str
    folder: Path
    images: Path
    bad_folders: list[Path]
    detector: Detector
    shots: list[Path]
    photos: list[Path]
    bad: npt.NDArray[np.bool_]
    raw_scores: npt.NDArray[np.float64]
    unreadable: list[tuple[Path, str]]
    thresholds: list[TriedThreshold]
    patch: tuple[float, float]
    seconds: float
    milliseconds: float
    options: tuple[str, ...] = ()

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The scores, [N]; the detector rejects a part from 1.00."""
        return self.raw_scores / self.detector.thresholds.image

    def errors(self, threshold: TriedThreshold) -> tuple[int, int]:
        """Return how many good parts a threshold rejects, and how many bad parts it misses.

        Args:
            threshold: One of `thresholds`.
        """
        rejected = self.raw_scores >= threshold.raw
        return int((rejected & ~self.bad).sum()), int((~rejected & self.bad).sum())

    def better_threshold(self) -> Separation | None:
        """Return the threshold that separates the inspected photos best, if it separates them better than the first.

        Returns:
            The threshold and its errors; None if the first is as good, or if the best only rejects every part or none.
        """
        good, bad = self.raw_scores[~self.bad], self.raw_scores[self.bad]
        if not len(good) or not len(bad):
            return None
        today, best = self.errors(self.thresholds[0]), separate(good, bad, self.thresholds[0].raw)
        shares = [
            rejected / len(good) + missed / len(bad) for rejected, missed in (today, (best.rejected, best.missed))
        ]
        return best if shares[1] < min(shares[0], 1.0) else None


def find_try_photos(folder: Path) -> TryPhotos:
    """Return the photos of a folder.

    Args:
        folder: A folder that holds `good` and possibly `bad`, in capitals or not; or MVTec's `train` and `test`; or
            only photos of good parts.

    Raises:
        SettingsError: The folder has other folders and no `good`, or fewer than two photos of good parts.
        FileError: The folder does not exist or holds no photo.
    """
    if not folder.is_dir():
        raise SettingsError(
            f"{printable(folder)} is no folder: give one with photos of good parts, or with good/ and bad/"
        )
    if (folder / "train" / "good").is_dir():
        tested = folder / "test"
        defects = [path for path in sorted(tested.iterdir()) if path.is_dir()] if tested.is_dir() else []
        good = [folder / "train" / "good", *(path for path in defects if path.name == "good")]
        bad = [path for path in defects if path.name != "good"]
    else:
        inside = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
        if inside and "good" not in inside:
            raise SettingsError(
                f"{printable(folder)} has the folders {', '.join(printable(Path(name)) for name in inside)} and none "
                "called good: put photos of good parts into good/ and photos of bad ones into bad/"
            )
        good = [inside.get("good", folder)]
        bad = [inside["bad"]] if "bad" in inside else []
    photos = TryPhotos(good[0], find_images(good), find_images(bad) if bad else [], bad)
    if len(photos.good) < 2:
        raise SettingsError(
            f"{printable(good[0])} holds one photo of a good part: two or more are needed, to learn from some and "
            "inspect the others"
        )
    return photos


def try_product(
    folder: Path,
    product: str,
    *,
    engine: Engine,
    view: View | None = None,
    shots: int | None = None,
    false_reject_rate: float = FALSE_REJECT_RATE,
    poses: bool = False,
    memory_share: float = 1.0,
    unlabelled: Sequence[Path] = (),
    bad_examples: Sequence[Path] = (),
    options: Sequence[str] = (),
) -> Trial:
    """Learn a product from some photos of a folder and inspect the others.

    Args:
        folder: The folder, in a form that `find_try_photos` accepts.
        product: The product's name.
        engine: The engine that encodes the photos.
        view: The part of a photo that is inspected; None: the whole photo.
        shots: How many photos of good parts are learned from, the first by name; None: SHOTS, or all but one if there
            are fewer.
        false_reject_rate: The share of good parts that may be rejected, above 0 and below 0.5.
        poses: Whether the photos are also remembered turned and mirrored.
        memory_share: The share of the patches that is remembered, above 0, at most 1.
        unlabelled: Unsorted photos of parts, or folders of them, which set a further threshold.
        bad_examples: Photos of bad parts, or folders of them, which set one more threshold.
        options: The options of a command that learns the product in the same way, for the advice.

    Returns:
        The results.

    Raises:
        SettingsError: A value is out of range, or no photo is left to be inspected.
        FileError, ImageError: A photo that is learned from cannot be read.
        EngineError, BackendError: The engine cannot be used.
    """
    photos = find_try_photos(folder)
    count = min(SHOTS, len(photos.good) - 1) if shots is None else shots
    if not 1 <= count < len(photos.good):
        raise SettingsError(
            f"--shots {count}: there are {len(photos.good)} photos of good parts and one must be left to be inspected; "
            f"1 to {len(photos.good) - 1} can be used"
        )
    chosen = photos.good[:count]
    start = time.perf_counter()
    recipe = teach(
        chosen, product, engine=engine, view=view, false_reject_rate=false_reject_rate, poses=poses,
        memory_share=memory_share,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    thresholds = [TriedThreshold(f"{count} good photo{'s'[: count > 1]}", recipe.header.thresholds.image)]
    if unlabelled or bad_examples:
        rate = SETTLING_RATE if unlabelled else false_reject_rate
        proposed = recalibrate(recipe, engine.encode, [], bad_examples, rate, unlabelled)
        if proposed.settlement is not None:
            parts = len(proposed.settlement.scores)
            thresholds.append(TriedThreshold(f"settling in on {parts} parts", proposed.recipe.header.thresholds.image))
        if proposed.bad_photos is not None:
            examples = len(proposed.bad_photos.bad_scores)
            thresholds.append(
                TriedThreshold(f"{examples} bad examples as well", proposed.bad_photos.proposal.threshold)
            )
    detector = Detector(engine, recipe)
    inspected: list[Path] = []
    scores, spans = [], []
    unreadable: list[tuple[Path, str]] = []
    learned = {shot.sha256 for shot in recipe.header.shots}
    for path in photos.good[count:] + photos.bad:
        if sha256(path) in learned:
            log.warning("%s is the same as a photo that was learned from: skipped", printable(path))
            continue
        try:
            inspection = detector.predict(path)
        except GoodpartsError as error:
            log.warning("%s", error)
            unreadable.append((path, str(error)))
            continue
        inspected.append(path)
        scores.append(inspection.raw_score)
        spans.append(sum(inspection.milliseconds.values()))
    if not inspected:
        raise SettingsError(f"no photo of {printable(folder)} other than the shots can be read: nothing was inspected")
    of_bad = set(photos.bad)
    height, width = load_rgb(chosen[0]).shape[:2]
    return Trial(
        product=product,
        folder=folder,
        images=photos.folder,
        bad_folders=photos.bad_folders,
        detector=detector,
        shots=chosen,
        photos=inspected,
        bad=np.array([path in of_bad for path in inspected]),
        raw_scores=np.array(scores, np.float64),
        unreadable=unreadable,
        thresholds=thresholds,
        patch=recipe.header.view.patch(height, width, recipe.header.encoder.grid),
        seconds=seconds,
        milliseconds=statistics.median(spans),
        options=tuple(options),
    )
