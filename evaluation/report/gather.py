"""All measurements of an evaluation, with the scores and pictures that a report shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats

from ..cache import FinishedMeasurement
from ..datasets import Sample, Split
from ..metrics.curve import Flags
from ..plan import EvaluationPlan
from ..results import CategoryResult, Manifest, Measurement


@dataclass(frozen=True, eq=False)
class ShownMistake:
    """A photo on the wrong side of photos of the other kind, for a person to look at.

    Attributes:
        sample: The photo's file and defect.
        score: Its image score.
        size: The share of photos of the other kind that it is on the wrong side of, above 0 and up to 1.
        view: The photo, uint8 [S,S,3], RGB.
        grid: Its patch scores [h,w].
    """

    sample: Sample
    score: float
    size: float
    view: Array8
    grid: Floats


@dataclass(frozen=True, eq=False)
class ShownMeasurement:
    """A measurement whose scores a report draws.

    Attributes:
        measurement: The measurement.
        scores: The image scores of the tested photos [N].
        bad: Which of these photos are bad, bool [N].
        mistakes: The worst mistakes; empty for all but one method of a category.
    """

    measurement: Measurement
    scores: Floats
    bad: Flags
    mistakes: tuple[ShownMistake, ...]


@dataclass
class Evaluation:
    """Everything that an evaluation measured.

    Attributes:
        measurements: Every measurement.
        manifests: The photos that were learned from, for each draw.
        shown: The measurements whose scores a report draws.
        remarks: One line for each measurement that could not be made, with the reason.
    """

    measurements: list[Measurement] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    shown: list[ShownMeasurement] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def gather(plan: EvaluationPlan, results: Iterable[CategoryResult]) -> Evaluation:
    """Read the measurements of all categories.

    Args:
        plan: The plan of the evaluation.
        results: The results of the categories.

    Returns:
        All measurements.

    Raises:
        SettingsError: Nothing could be measured.
        FileError: The file of a measurement is damaged.
    """
    evaluation = Evaluation()
    for result in results:
        evaluation.manifests += result.manifests
        evaluation.remarks += result.remarks
        split = plan.data.split(result.category)
        deployed_scores: dict[tuple[str, int, int], Floats] = {}
        with_mistakes = next((name for name in plan.methods if name in result.shown), None)
        for key in result.keys:
            finished = plan.cache.read(key)
            measurement, scores = finished.measurement, finished.image_scores
            assert measurement is not None  # a method that was left out is not in the result
            draw = measurement.method, measurement.shots, measurement.seed
            deployed = deployed_scores.setdefault(draw, scores)
            if deployed is not scores:
                difference = float(np.abs(deployed - scores).max())
                measurement = msgspec.structs.replace(measurement, difference=difference)
            evaluation.measurements.append(measurement)
            if result.shown.get(measurement.method) == key:
                mistakes = _show_mistakes(plan, split, finished, result) if measurement.method == with_mistakes else ()
                bad = np.array(finished.bad, np.bool_)
                evaluation.shown.append(ShownMeasurement(measurement, scores, bad, mistakes))
    if not evaluation.measurements:
        reasons = "; ".join(evaluation.remarks) or "no method and no shots"
        raise SettingsError(f"nothing could be measured: {reasons}")
    return evaluation


def _show_mistakes(
    plan: EvaluationPlan, split: Split, finished: FinishedMeasurement, result: CategoryResult
) -> tuple[ShownMistake, ...]:
    size = plan.encoder.image_size
    return tuple(
        ShownMistake(
            split.test[mistake.index],
            mistake.score,
            mistake.size,
            np.frombuffer(result.views[mistake.index], np.uint8).reshape(size, size, 3),
            np.frombuffer(mistake.grid, np.float32).reshape(mistake.shape),
        )
        for mistake in finished.mistakes
    )
