from __future__ import annotations

import numpy as np
from goodparts.runtime.core.regions import find_regions, label
from goodparts.runtime.core.view import Box
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans()))
def test_labels_equal_scipys(mask: np.ndarray) -> None:
    labels, count = label(mask)
    expected, expected_count = ndimage.label(mask, structure=np.ones((3, 3)))
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)  # both number by first appearance


def test_boxes_and_areas_are_in_frame_pixels() -> None:
    scores = np.zeros((4, 8), np.float32)
    scores[1:3, 2:4] = 0.5
    scores[0, 7] = 0.9
    first, second = find_regions(scores, 0.5, 0.0, Box(100, 50, 80, 80))  # one map pixel is 10×20
    assert (first.box, first.area, first.peak) == (Box(170, 50, 10, 20), 200.0, np.float32(0.9))
    assert (second.box, second.area, second.peak) == (Box(120, 70, 20, 40), 800.0, 0.5)


def test_small_regions_are_left_out() -> None:
    scores = np.eye(4, dtype=np.float32)
    scores[0, 3] = 1.0
    assert [region.area for region in find_regions(scores, 0.5, 2.0, Box(0, 0, 4, 4))] == [4.0]
