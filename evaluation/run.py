"""The run of one category: every method, number of shots, seed and backend."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from goodparts.runtime.core.errors import BackboneError, SettingsError
from goodparts.runtime.core.files import printable, visible

from .cache import FinishedMeasurement
from .datasets import ChosenShots, Sample, Split, check_split
from .encoders import CategoryEncoders, MethodGroup
from .keys import CategoryKeys
from .methods.method import TrainingData
from .methods.table import find_method
from .mistakes import find_mistakes
from .plan import EvaluationPlan
from .results import CategoryResult, Manifest, Measurement
from .testing import MethodTester, bad_flags
from .training import TrainingShots, draw_shots

log = logging.getLogger(__name__)


def measure_category(plan: EvaluationPlan, category: str, seeds: range) -> CategoryResult:
    """Run the unfinished measurements of these seeds; methods that learn from no photos are measured with seed 0.

    A measurement that is impossible, for example because there are too few photos, is left out with a remark.

    Args:
        plan: The plan of the evaluation.
        category: The category's name.
        seeds: The seeds of the draws of shots.

    Returns:
        The keys of all finished measurements of these seeds, with the remarks.
    """
    split = plan.data.split(category)
    result = CategoryResult(category)
    for problem in check_split(split):
        result.remark(problem)
    with CategoryEncoders(plan, split, result) as encoders:
        CategoryRun(plan, split, encoders, result).measure(seeds)
    return result


def group_by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the metrics that are missing for each reason.

    Args:
        missing: The reason for each missing metric.
    """
    metrics: defaultdict[str, list[str]] = defaultdict(list)
    for metric, reason in missing.items():
        metrics[reason].append(metric)
    return dict(metrics)


class CategoryRun:
    """Measures a category, and adds its finished measurements to the result.

    Args:
        plan: The plan of the evaluation.
        split: The category.
        encoders: The category's open encoders.
        result: Receives the keys, the remarks and the views of mistakes.
    """

    def __init__(self, plan: EvaluationPlan, split: Split, encoders: CategoryEncoders, result: CategoryResult) -> None:
        self._plan = plan
        self._split = split
        self._encoders = encoders
        self._result = result
        self._name = visible(printable(Path(split.category)))
        self._keys = CategoryKeys(plan, split)
        self._tester = MethodTester(plan, split, encoders.photos)
        self._test_index = {sample: index for index, sample in enumerate(split.test)}
        if unmarked := sum(not sample.marked for sample in split.test):
            result.remark(f"{self._name}: {unmarked} bad photos have no mask; pixel metrics leave them out")

    def measure(self, seeds: range) -> None:
        """Measure all methods of the plan for these seeds.

        Args:
            seeds: The seeds of the draws of shots.
        """
        rows = {name: find_method(name) for name in self._plan.methods}
        with_shots = [name for name, row in rows.items() if row.needs_shots]
        without_shots = [name for name, row in rows.items() if not row.needs_shots]
        if without_shots and 0 in seeds:
            log.info("%s: no shots", self._name)
            self._measure_draw(without_shots, None, 0, shown=True)
        draws = self._draw(seeds) if with_shots else []
        largest = max((len(shots.paths) for shots, _ in draws), default=0)
        for shots, seed in draws:
            count = len(shots.paths)
            log.info("%s: %d shots, seed %d", self._name, count, seed)
            self._result.manifests.append(Manifest(self._name, count, seed, shots.digest, shots.manifest))
            self._measure_draw(with_shots, shots, seed, shown=count == largest and seed == 0)
        self._keep_views_of_mistakes()

    def _draw(self, seeds: range) -> list[tuple[ChosenShots, int]]:
        """Return the shots of every seed and number of shots, with the seed.

        Each number that is too large gets a remark.
        """
        draws = []
        for seed in seeds:
            for count in self._plan.shots:
                try:
                    draws.append((draw_shots(self._plan, self._split, count, seed), seed))
                except SettingsError as error:
                    self._result.remark(f"{self._name}: left out: {error}")
        return draws

    def _measure_draw(self, methods: Sequence[str], shots: ChosenShots | None, seed: int, shown: bool) -> None:
        """Measure methods on all backends for one draw of shots. With `shown`, a report draws their scores."""
        paths = () if shots is None else shots.paths
        samples = self._split.tests(paths)
        if not samples:
            self._result.remark(f"{self._name}: left out: {len(paths)} shots leave no photo to test with")
            return
        training = TrainingShots(self._plan, self._split, self._encoders, self._result, shots, seed)
        for group in self._encoders.group(methods):
            keys = {name: self._keys.key(group.backend, name, shots, seed) for name in group.methods}
            missing = [name for name, key in keys.items() if key not in self._plan.cache]
            if missing:
                data = training.data(group)
                for name in missing:
                    finished = self._measure_method(name, data, group, samples, shots, seed)
                    self._plan.cache.write(keys[name], finished)
            is_shown = shown and (group.own_encoder or group.backend is self._plan.backends[0])
            for name, key in keys.items():
                self._add(name, key, is_shown)

    def _measure_method(
        self,
        name: str,
        data: TrainingData,
        group: MethodGroup,
        samples: Sequence[Sample],
        shots: ChosenShots | None,
        seed: int,
    ) -> FinishedMeasurement:
        method = find_method(name)
        try:
            fitted = method.fit(data)
        except (SettingsError, BackboneError) as error:
            return FinishedMeasurement(None, str(error))
        metrics, scores, grids = self._tester.test(fitted, group.encoded, samples)
        if self._plan.oracle:
            metrics |= self._tester.test_best_step(method, data, group.encoded, samples)
        bad = bad_flags(samples)
        return FinishedMeasurement(
            Measurement(
                category=self._name,
                method=name,
                shots=len(data.views),
                seed=seed,
                backend=group.backend.name,
                values=metrics.values,
                missing=metrics.missing,
                threshold=fitted.threshold,
                manifest=shots.digest if shots else "",
            ),
            scores=scores.astype(np.float32).tobytes(),
            bad=tuple(bad.tolist()),
            mistakes=find_mistakes(bad, scores, grids, [self._test_index[sample] for sample in samples]),
        )

    def _add(self, method: str, key: str, shown: bool) -> None:
        """Add a finished measurement to the result, or the reason why the method was left out."""
        finished = self._plan.cache.read(key)
        if finished.measurement is None:
            self._result.remark(f"{self._name}, {method}: left out: {finished.left_out}")
            return
        for reason, metrics in group_by_reason(finished.measurement.missing).items():
            self._result.remark(f"{self._name}: {', '.join(metrics)} cannot be computed: {reason}")
        self._result.keys.append(key)
        if shown:
            self._result.shown[method] = key

    def _keep_views_of_mistakes(self) -> None:
        """Keep the photos of the first shown method's mistakes."""
        first = next((name for name in self._plan.methods if name in self._result.shown), None)
        if first is None:
            return
        for mistake in self._plan.cache.read(self._result.shown[first]).mistakes:
            path = self._split.test[mistake.index].path
            self._result.views[mistake.index] = self._encoders.photos.views([path])[0].tobytes()
