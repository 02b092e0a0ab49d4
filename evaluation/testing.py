"""Tests how well a fitted method finds the defects in a category's test photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from goodparts.runtime.core.scoring import MAP_SIZE, Floats, anomaly_map

from .datasets import Sample, Split, Truth, load_truth
from .encoded_photos import BATCH_SIZE, EncodedPhotos, Photos
from .methods.method import FittedMethod, Method, TrainingData
from .metrics.curve import Flags
from .metrics.image import measure_images
from .metrics.pixel import PixelTally
from .metrics.values import MetricValues
from .official import official_truth
from .plan import EvaluationPlan

NO_DEFECT = np.zeros((MAP_SIZE, MAP_SIZE), np.bool_)
"""The mask of a good photo."""


class TestResult(NamedTuple):
    """The result of testing a method.

    Attributes:
        metrics: The metrics of the tested photos.
        scores: Their image scores [N].
        grids: Their patch scores [N,h,w].
    """

    metrics: MetricValues
    scores: Floats
    grids: Floats


class MethodTester:
    """Tests fitted methods on photos of a category, whose ground truth is read once.

    Args:
        plan: The plan of the evaluation.
        split: The category.
        photos: The decoded photos.
    """

    def __init__(self, plan: EvaluationPlan, split: Split, photos: Photos) -> None:
        self._official = plan.official is not None
        self._split = split
        self._photos = photos
        self._truths: dict[Sample, Truth] = {}

    def test(self, fitted: FittedMethod, encoded: EncodedPhotos, samples: Sequence[Sample]) -> TestResult:
        """Score test photos, and measure how well the scores separate good from bad photos and pixels.

        Args:
            fitted: The method after learning.
            encoded: The photos' features; not used if the method brings its own `encode`.
            samples: The N test photos.

        Returns:
            The metrics and the scores.
        """
        scores, grids = [], []
        with PixelTally() as tally:
            for start in range(0, len(samples), BATCH_SIZE):
                batch = samples[start : start + BATCH_SIZE]
                paths = [sample.path for sample in batch]
                features = fitted.encode(self._photos.views(paths)) if fitted.encode else encoded.features(paths)
                batch_scores, batch_grids = fitted.score(features)
                scores.append(batch_scores)
                grids.append(batch_grids)
                for sample, grid in zip(batch, batch_grids, strict=True):
                    if sample.marked:
                        truth = self._truth(sample)
                        tally.add(anomaly_map(grid), truth.mask, truth.defects)
            pixel_metrics = tally.measure()
        all_scores = np.concatenate(scores)
        image_metrics = measure_images(bad_flags(samples), all_scores)
        return TestResult(image_metrics | pixel_metrics, all_scores, np.concatenate(grids))

    def test_best_step(
        self, method: Method, data: TrainingData, encoded: EncodedPhotos, samples: Sequence[Sample]
    ) -> MetricValues:
        """Return the AUROCs of the learning step that is best on these test photos.

        They show how much a choice of the step by the test data would gain. A method that does not learn its prompts in
        steps has no such AUROCs. An AUROC that cannot be computed is missing.

        Args:
            method: The method.
            data: The method's training data; its task has recorded the steps.
            encoded: The photos' features.
            samples: The test photos.
        """
        best = MetricValues()
        if method.prompts is None:
            return best
        for prototypes in data.task.steps(method.prompts):
            task = data.task.with_prompts(method.prompts, prototypes)
            fitted = method.fit(dataclasses.replace(data, task=task))
            metrics = self.test(fitted, encoded, samples).metrics
            for name in ("image_auroc", "pixel_auroc"):
                oracle = f"oracle_{name}"
                if name in metrics.missing:
                    best |= MetricValues.without([oracle], metrics.missing[name])
                else:
                    best.values[oracle] = max(best.values.get(oracle, 0.0), metrics.values[name])
        return best

    def _truth(self, sample: Sample) -> Truth:
        """Return the sample's defective pixels at the size of anomaly maps."""
        if self._official:
            return official_truth(sample)
        if not sample.bad:
            return Truth(NO_DEFECT, () if self._split.saturations else None)
        if sample not in self._truths:
            self._truths[sample] = load_truth(sample, self._split.saturations).resized(MAP_SIZE, MAP_SIZE)
        return self._truths[sample]


def bad_flags(samples: Sequence[Sample]) -> Flags:
    """Return which test photos are bad, bool [N].

    Args:
        samples: The N test photos.
    """
    return np.array([sample.bad for sample in samples], np.bool_)
