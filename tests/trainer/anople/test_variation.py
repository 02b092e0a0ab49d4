from __future__ import annotations

import numpy as np
from goodparts.trainer.anople.variation import vary

SIZE = 64


def test_a_photo_and_its_mask_vary_together() -> None:
    photo, mask = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.bool_)
    mask[20:40, 30:50] = True
    photo[mask] = 255
    same = vary(photo, mask, 0.0, np.random.default_rng(0))
    assert same[0] is photo
    assert same[1] is mask
    for seed in range(4):
        moved, where = vary(photo, mask, 1.0, np.random.default_rng(seed))
        assert not np.array_equal(where, mask)
        assert moved.shape == photo.shape
        bright = moved.max(axis=2) > 127
        assert (bright & where).sum() / (bright | where).sum() > 0.9
