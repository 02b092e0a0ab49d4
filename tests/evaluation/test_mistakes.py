"""The sizes of mistakes, and the data that is kept for each mistake."""

from __future__ import annotations

import numpy as np
from goodparts.evaluation.mistakes import find_mistakes, mistake_sizes


def test_a_mistake_is_larger_on_the_wrong_side_of_more_photos_of_the_other_kind() -> None:
    bad = np.array([False, False, True, True])
    np.testing.assert_array_equal(mistake_sizes(bad, np.array([1, 4, 2, 3], np.float32)), [0, 1, 0.5, 0.5])
    np.testing.assert_array_equal(mistake_sizes(bad, np.array([1, 2, 3, 4], np.float32)), 0)
    np.testing.assert_array_equal(mistake_sizes(bad, np.ones(4, np.float32)), 1)
    np.testing.assert_array_equal(mistake_sizes(bad[:2], np.ones(2, np.float32)), 0)


def test_mistakes_keep_the_place_and_the_patch_scores_of_their_photos() -> None:
    scores, grids = np.array([1, 4, 2, 3], np.float32), np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    mistakes = find_mistakes(np.array([False, False, True, True]), scores, grids, [10, 11, 12, 13])
    assert [(mistake.index, mistake.score) for mistake in mistakes] == [(11, 4.0), (12, 2.0), (13, 3.0)]
    np.testing.assert_array_equal(np.frombuffer(mistakes[0].grid, np.float32).reshape(mistakes[0].shape), grids[1])
