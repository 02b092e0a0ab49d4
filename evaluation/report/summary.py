"""Measurements averaged over seeds and categories, with the papers' numbers to compare them with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..methods.table import METHODS
from ..metrics.image import IMAGE_METRICS
from ..metrics.pixel import PIXEL_METRICS
from ..plan import TORCH
from ..results import Measurement
from .gather import Evaluation
from .papers import Paper, read_papers
from .report import Findings

METRICS = (*IMAGE_METRICS, *PIXEL_METRICS)
"""The metrics that always have a column, in the order of columns."""
ORACLE = "oracle_"
"""The prefix of the names of metrics of the learning step that is best on the test data."""
FURTHER_METRICS = ("pixel_spro", f"{ORACLE}image_auroc", f"{ORACLE}pixel_auroc")
"""Metrics that have a column only if they were measured."""
MEAN = "mean"
"""The name that a row of the mean of all categories has instead of a category's name."""


@dataclass(frozen=True)
class SummaryRow:
    """The metrics of a method on a category, or on the mean of all categories.

    Attributes:
        category: The category's name, or MEAN.
        method: The method's name.
        shots: The number of photos that were learned from.
        backend: The backend's name.
        values: For every metric, the mean over seeds, 0 to 1, and its standard deviation, which is NaN for a single
            seed.
        categories: The number of categories in the mean.
        difference: For torch, the largest difference of an image score from the deployed backend's; otherwise 0.
    """

    category: str
    method: str
    shots: int
    backend: str
    values: dict[str, tuple[float, float]]
    categories: int
    difference: float


@dataclass(frozen=True, eq=False)
class Summary:
    """An evaluation averaged: over seeds for each category, and over seeds for the mean of all categories.

    Attributes:
        data: The data set's name.
        comparable: Whether our numbers can be compared with the papers': all categories were measured with
            PUBLISHED_BACKBONE.
        evaluation: The single measurements.
        official: Whether PromptAD's released evaluation was reproduced.
    """

    data: str
    comparable: bool
    evaluation: Evaluation
    official: bool = False

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics that were measured, in the order of columns."""
        measured = {metric for measurement in self.evaluation.measurements for metric in measurement.values}
        return [metric for metric in (*METRICS, *FURTHER_METRICS) if metric in measured]

    @cached_property
    def categories(self) -> int:
        """The number of measured categories."""
        return len({measurement.category for measurement in self.evaluation.measurements})

    def name(self, row: SummaryRow) -> str:
        """Return a row's method, with the number of categories if its mean is not over all.

        Args:
            row: The row.
        """
        if row.category != MEAN or row.categories == self.categories:
            return row.method
        return f"{row.method} ({row.categories} of {self.categories} categories)"

    @cached_property
    def rows(self) -> list[SummaryRow]:
        """The means over all categories, then the rows of each category.

        Within a category, methods have the order of their table, shots ascend, and torch follows the deployed backend.
        """
        groups: defaultdict[tuple[str, str, int, str], list[Measurement]] = defaultdict(list)
        for measurement in self.evaluation.measurements:
            for category in (MEAN, measurement.category):
                groups[category, measurement.method, measurement.shots, measurement.backend].append(measurement)
        measured_methods = (measurement.method for measurement in self.evaluation.measurements)
        methods = list(dict.fromkeys((*METHODS, *measured_methods)))
        order = sorted(groups, key=lambda key: (key[0] != MEAN, key[0], methods.index(key[1]), key[2], key[3] == TORCH))
        return [
            SummaryRow(
                *key,
                self._average(groups[key]),
                len({measurement.category for measurement in groups[key]}),
                max(measurement.difference or 0.0 for measurement in groups[key]),
            )
            for key in order
        ]

    def _average(self, measurements: Sequence[Measurement]) -> dict[str, tuple[float, float]]:
        """Return every metric's mean over seeds and its standard deviation.

        The value of a seed is its mean over categories.
        """
        averages = {}
        for metric in self.metrics:
            by_seed: defaultdict[int, list[float]] = defaultdict(list)
            for measurement in measurements:
                value = measurement.values.get(metric, math.nan)
                if not math.isnan(value):
                    by_seed[measurement.seed].append(value)
            seeds = [float(np.mean(values)) for values in by_seed.values()]
            if seeds:
                spread = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else math.nan
                averages[metric] = float(np.mean(seeds)), spread
        return averages

    def find(self, category: str, method: str, shots: int, torch: bool = False) -> SummaryRow | None:
        """Return the row of the deployed backend, or of torch; None if there is no such row.

        Args:
            category: The category's name; "mean" for the mean of all categories.
            method: The method's name.
            shots: The number of photos that were learned from.
            torch: Whether to return the row of torch.
        """
        key = category, method, shots, torch
        rows = (row for row in self.rows if (row.category, row.method, row.shots, row.backend == TORCH) == key)
        return next(rows, None)

    def findings(self) -> Findings:
        """Return the rows as a benchmark's findings, named "<category or mean>, <method>, k shots: <metric>".

        The peer is torch if it was measured, otherwise the paper.
        """
        findings = Findings(remarks=self.evaluation.remarks)
        for row in self.rows:
            if row.backend == TORCH:
                continue
            torch = self.find(row.category, row.method, row.shots, torch=True)
            for metric, (value, spread) in row.values.items():
                peer, peer_value = None, None
                if torch is not None and metric in torch.values:
                    peer, peer_value = TORCH, torch.values[metric][0]
                elif published := self.published(row, metric):
                    peer, peer_value = published
                name = f"{row.category}, {self.name(row)}, {row.shots} shots: {metric}"
                findings.add(name, value, "", peer, peer_value, higher=True)
                if not math.isnan(spread):
                    findings.add(f"{name}, standard deviation", spread, "")
        return findings

    def published(self, row: SummaryRow, metric: str) -> tuple[str, float] | None:
        """Return the paper's method and its value, 0 to 1, if data set, method and number of shots are the same.

        The method's name is followed by our protocol if the paper's number comes from PromptAD's released evaluation.
        Return None if there is no such number.

        Args:
            row: The row.
            metric: The metric's name.
        """
        if row.category != MEAN or not self.comparable or row.categories < self.categories:
            return None
        for paper in read_papers():
            value = paper.values.get(row.shots, {}).get(metric.removeprefix(ORACLE))
            if (paper.data, paper.row) == (self.data, row.method) and value is not None:
                ours, protocol = self.counterpart(paper, row, metric.removeprefix(ORACLE))
                if ours == metric:
                    return paper.method + (f" (ours: {protocol})" if protocol else ""), value / 100
        return None

    def counterpart(self, paper: Paper, row: SummaryRow, metric: str) -> tuple[str, str]:
        """Return our metric to compare with a paper's, and the name of our protocol.

        The protocol is empty if it need not be named. PromptAD's released evaluation counts the best step, which we
        measure only with --official and --oracle.

        Args:
            paper: The paper.
            row: Our row.
            metric: The paper's metric.
        """
        if not paper.official:
            return metric, ""
        if self.official and ORACLE + metric in row.values:
            return ORACLE + metric, "official, best step"
        return metric, "official" if self.official else "clean"
