"""Metrics of maps against scikit-learn, against a trial of every threshold, and against values computed by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from goodparts.evaluation.metrics import pixel as pixel_metrics
from goodparts.evaluation.metrics.pixel import PixelTally
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

Maps = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]

SHAPE = (3, 4, 5)
FEW = arrays(np.float32, SHAPE, elements=st.integers(0, 4).map(float))
MASKS = arrays(np.bool_, SHAPE)


def regions_of(mask: Masks) -> list[set[tuple[int, int]]]:
    """Return the 8-connected regions, found by flood fill."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(region)
    return found


def area_under(points: list[tuple[float, float]], limit: float) -> float:
    """Return the area under straight lines between points (x, y), from 0 to the limit, divided by the limit."""
    area = 0.0
    for (x, y), (to_x, to_y) in pairwise(points):
        if x < limit and to_x > x:
            end = min(to_x, limit)
            end_y = y + (to_y - y) * (end - x) / (to_x - x)
            area += (end - x) * (y + end_y) / 2
    return area / limit


def slow_overlap(maps: Maps, masks: Masks, limit: float, saturations: list[list[int]] | None = None) -> float:
    """Compute PRO by trying every score as a threshold.

    A region's share is its found area divided by its own area or by its saturation area.
    """
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        shares = []
        for index, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
            for number, region in enumerate(regions_of(mask)):
                found = sum(float(scores[place]) >= threshold for place in region)
                area = len(region) if saturations is None else saturations[index][number]
                shares.append(min(1.0, found / area))
        points.append((float((maps[~masks] >= threshold).mean()), float(np.mean(shares))))
    return area_under(points, limit)


def tally(maps: Maps, masks: Masks, limit: float = 0.3) -> dict[str, float]:
    with PixelTally() as taking:
        for scores, mask in zip(maps, masks, strict=True):
            taking.add(scores, mask)
        return taking.measure(limit).values


@settings(deadline=None)
@given(FEW, MASKS, st.sampled_from([0.05, 0.3, 1.0]))
def test_pro_at_every_threshold(maps: Maps, masks: Masks, limit: float) -> None:
    found = tally(maps, masks, limit)
    if masks.all() or not masks.any():
        assert all(math.isnan(value) for value in found.values())
        return
    assert found["pixel_pro"] == pytest.approx(slow_overlap(maps, masks, limit), abs=1e-9)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-9)
    assert found["pixel_aupr"] == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-9)


@settings(deadline=None)
@given(FEW, MASKS, st.sampled_from([0.05, 1.0]), st.randoms(use_true_random=False))
def test_saturated_pro_at_every_threshold(maps: Maps, masks: Masks, limit: float, random: Random) -> None:
    if masks.all() or not masks.any():
        return
    saturations = []
    with PixelTally() as taking:
        for scores, mask in zip(maps, masks, strict=True):
            defects = []
            for region in regions_of(mask):
                defect = np.zeros_like(mask)
                defect[tuple(np.array(sorted(region)).T)] = True
                defects.append((defect, random.randint(1, len(region))))
            saturations.append([area for _, area in defects])
            taking.add(scores, mask, defects)
        found = taking.measure(saturated_limit=limit).values["pixel_spro"]
    assert found == pytest.approx(slow_overlap(maps, masks, limit, saturations), abs=1e-9)


def test_many_values_from_a_file_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((20, 40, 40), np.float32)
    masks = np.zeros(maps.shape, np.bool_)
    masks[::2, 10:20, 5:25] = masks[1, 3, 3] = masks[2, 38, 38] = True
    maps[masks] += 0.3
    at_once = tally(maps, masks)
    monkeypatch.setattr(pixel_metrics, "BLOCK", 777)
    with PixelTally(tmp_path) as taking:
        for scores, mask in zip(maps, masks, strict=True):
            taking.add(scores, mask)
        assert taking.measure().values == at_once == taking.measure().values
    assert not list(tmp_path.iterdir())
    assert at_once["pixel_auroc"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-9)
    assert at_once["pixel_aupr"] == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-9)


def test_by_hand() -> None:
    scores = np.array([[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]], np.float32)
    mask = np.array([[1, 0, 1, 1, 0, 0, 0, 0, 0, 0]], np.bool_)
    # Overlap is 1/2 up to a rate of 1/7, where the second region's two pixels are found.
    found = tally(scores[None], mask[None])
    assert found["pixel_pro"] == pytest.approx((1 / 2 * 1 / 7 + (0.3 - 1 / 7)) / 0.3)
    assert found["pixel_auroc"] == pytest.approx(19 / 21)
    assert found["pixel_aupr"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    # A constant map separates nothing: overlap and rate grow together.
    assert tally(np.zeros((1, 1, 10), np.float32), mask[None]) == pytest.approx(
        {"pixel_auroc": 0.5, "pixel_aupr": 0.3, "pixel_pro": 0.15}
    )
    with PixelTally() as taking:
        second = np.array([[0, 0, 1, 1, 0, 0, 0, 0, 0, 0]], np.bool_)
        taking.add(scores, mask, [(mask & ~second, 1), (second, 1), (mask, 2)])  # defects may overlap
        # The overlap is 1/3 + 1/6 until the first good pixel, then 1.
        assert taking.measure(saturated_limit=0.5).values["pixel_spro"] == pytest.approx((1 / 2 * 1 / 7 + 5 / 14) / 0.5)


def test_diagonal_neighbours_are_one_region() -> None:
    mask = np.eye(4, dtype=np.bool_)
    scores = np.zeros((4, 4), np.float32)
    scores[0, 0] = 1  # a quarter of the region is found before any good pixel
    assert tally(scores[None], mask[None], 1.0)["pixel_pro"] == pytest.approx((1 / 4 + 1) / 2)


def test_without_defects_or_without_good_pixels() -> None:
    scores = np.zeros((2, 2), np.float32)
    for filled, kind in ((False, "defective"), (True, "good")):
        with PixelTally() as taking:
            taking.add(scores, np.full((2, 2), filled), None if filled else [])
            found = taking.measure()
        assert all(math.isnan(value) for value in found.values.values())
        assert found.missing["pixel_pro"] == f"both kinds are needed: no pixel is {kind}"
        assert ("pixel_spro" in found.values) == (not filled)


def test_what_cannot_be_tallied() -> None:
    scores, mask = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.bool_)
    some = mask.copy()
    some[0, 0] = True
    broken = scores.copy()
    broken[1, 1] = math.nan
    with PixelTally() as taking:
        for message, given in (
            (r"map is float64 \[2, 3\]", (scores.astype(np.float64), mask)),
            (r"mask is bool \[3, 2\]: bool \[2, 3\] is needed", (scores, mask.T)),
            (r"mask is uint8", (scores, mask.astype(np.uint8))),
            ("1 of 6 scores are NaN", (broken, mask)),
            ("mask must cover every defect", (scores, mask, [(some, 1)])),
            ("saturation area 2 of a defect of 1 pixels", (scores, some, [(some, 2)])),
        ):
            with pytest.raises(ValueError, match=message):
                taking.add(*given)
        with pytest.raises(ValueError, match="limit 0"):
            taking.measure(0)
