from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.trainer.anople.pseudo import (
    AREA,
    AUGMENTATIONS,
    PseudoAnomalies,
    draw_mask,
    find_foreground,
    perlin,
    soften,
    whole_and_tiles,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

SIZE = 64
Y, X = np.ogrid[:SIZE, :SIZE]
DISC = (Y - 32) ** 2 + (X - 32) ** 2 < 20**2


def disc_photo() -> np.ndarray:
    photo = np.full((SIZE, SIZE, 3), 200, np.uint8)
    photo[DISC] = (60, 40, 30)
    return photo


@given(size=st.integers(8, 70), rows=st.integers(1, 32), columns=st.integers(1, 32), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_noise_of_any_number_of_cells_fits_any_size(size: int, rows: int, columns: int, seed: int) -> None:
    noise = perlin(size, (rows, columns), np.random.default_rng(seed))
    assert noise.shape == (size, size)
    assert np.abs(noise).max() <= np.sqrt(2.0)


def test_noise_is_zero_at_the_corners_of_its_cells_and_smooth_between() -> None:
    noise = perlin(400, (4, 4), np.random.default_rng(0))
    # Half a pixel from a corner a gradient of length √2 has risen by at most √2·√2·0.005.
    assert abs(noise[99:101, 199:201]).max() < 0.011
    assert np.abs(np.diff(noise, axis=0)).max() < 0.05


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_defect_lies_on_the_part_and_changes_nothing_else(seed: int) -> None:
    photo = disc_photo()
    painted, mask = PseudoAnomalies(photo[None])(0, np.random.default_rng(seed))
    assert mask.any()
    assert mask.sum() <= AREA[1] * SIZE**2
    assert not (painted != photo).any(axis=2)[~mask].any()
    assert (mask & DISC).any()


def test_defects_fill_the_picture_where_no_part_stands_out() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    assert find_foreground(texture) is None
    found = find_foreground(disc_photo())
    assert found is not None
    assert (found == DISC).all()


def test_the_same_generator_paints_the_same_defect() -> None:
    shots = np.stack([disc_photo(), disc_photo()[::-1] // 2])
    first, second = (PseudoAnomalies(shots)(1, np.random.default_rng(5)) for _ in range(2))
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()


def test_textures_are_the_pictures_that_are_given(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(SIZE, dtype=np.uint8)[:, None, None], (SIZE, SIZE, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(path := tmp_path / "ramp.png")
    photo = np.full((SIZE, SIZE, 3), 128, np.uint8)
    for seed in range(6):
        painted, mask = PseudoAnomalies(photo[None], [path])(0, np.random.default_rng(seed))
        # No augmentation gives grey a colour; a drawn texture has colours.
        assert (painted[mask].max(axis=1) - painted[mask].min(axis=1)).max() <= 1


@pytest.mark.parametrize("number", range(len(AUGMENTATIONS)))
def test_augmentations_keep_size_and_mode(number: int) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8))
    changed = AUGMENTATIONS[number](image, np.random.default_rng(1))
    assert (changed.size, changed.mode) == (image.size, "RGB")


def test_soft_edges_stay_inside_the_mask() -> None:
    soft = soften(DISC, 3.0)
    assert soft[~DISC].max() == 0.0
    assert soft[32, 32] == pytest.approx(1.0)
    assert 0.0 < soft[32, 13] < 0.8


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_a_defect_is_the_same_in_the_whole_view_and_in_its_tiles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    photo, mask = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8), draw_mask(SIZE, rng)
    views, masks = whole_and_tiles(photo, mask)
    assert views.shape == (5, SIZE // 2, SIZE // 2, 3)
    rebuilt = np.block([[masks[1], masks[2]], [masks[3], masks[4]]])
    assert (rebuilt == mask).all()
    assert (np.concatenate([np.concatenate(views[1:3], axis=1), np.concatenate(views[3:], axis=1)]) == photo).all()
    assert masks[0].sum() >= mask.sum() / 4
    assert (np.kron(masks[0], np.ones((2, 2), bool)) >= mask).all()
