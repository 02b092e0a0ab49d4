"""The recommendation of `goodparts evaluate --decide`: the fusion and temperature for a backbone and a data set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from ..methods.table import DECIDE, DECIDE_DEFAULT
from ..results import Measurement

SURE = 2.0
"""A row is recommended over the default if its gain is more than this many standard errors of the gain."""

Draw = tuple[str, int, int]
"""Category, shots and seed."""


def recommend(measurements: Iterable[Measurement], backend: str) -> list[str]:
    """Return lines that rank the rows of the group `decide`, and name the options to use.

    The value of a row in a draw is the mean of image and pixel AUROC, or one of them if the other could not be
    computed. Rows are compared on the draws in which every row has a value.

    Args:
        measurements: All measurements; measurements of other backends and rows are ignored.
        backend: The name of the deployed backend.
    """
    values: dict[str, dict[Draw, float]] = {name: {} for name in DECIDE}
    for one in measurements:
        aurocs = [one.values.get(name, math.nan) for name in ("image_auroc", "pixel_auroc")]
        known = [auroc for auroc in aurocs if not math.isnan(auroc)]
        if one.method in values and one.backend == backend and known:
            values[one.method][one.category, one.shots, one.seed] = float(np.mean(known))
    draws = set.intersection(*(set(of_row) for of_row in values.values()))
    if not draws:
        return ["no recommendation: in no draw of shots does every row have an AUROC"]
    means = {name: float(np.mean([of_row[draw] for draw in draws])) for name, of_row in values.items()}
    ranked = sorted(means, key=lambda name: -means[name])
    best, before = ranked[0], means[DECIDE_DEFAULT]
    lines = [f"mean of image and pixel AUROC of {len(draws)} draws of shots:"]
    lines += [f"{means[name]:.4f} {describe(name)}" for name in ranked]
    gain, error = _gain(values[best], values[DECIDE_DEFAULT], draws)
    if best == DECIDE_DEFAULT:
        return [*lines, "recommended: the defaults, which are the best of these"]
    if math.isnan(error):
        return [*lines, "no recommendation: a single draw has no standard error; measure more --seeds"]
    beside = f"{means[best]:.4f} instead of {before:.4f}, a gain of {gain:.4f} with a standard error of {error:.4f}"
    if gain <= SURE * error:
        return [*lines, f"recommended: the defaults; {describe(best)} has {beside}, which may be chance"]
    return [*lines, f"recommended: {describe(best)}: {beside}"]


def describe(name: str) -> str:
    """Return the options of train-and-export that a row of the group stands for.

    Args:
        name: The row's name.
    """
    changes = name.partition(":")[2] or "fusion=memory"
    return " ".join(f"--{change.replace('=', ' ')}" for change in changes.split(","))


def _gain(row: Mapping[Draw, float], default: Mapping[Draw, float], draws: Iterable[Draw]) -> tuple[float, float]:
    """Return a row's mean gain over the default, and the standard error of the gain, which is NaN for one draw."""
    gains = np.array([row[draw] - default[draw] for draw in draws])
    error = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
    return float(gains.mean()), float(error)
