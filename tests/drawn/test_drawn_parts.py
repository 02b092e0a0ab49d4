from __future__ import annotations

import numpy as np
import pytest
from goodparts.drawn.parts import DEFECTS, HELD_OUT_DEFECTS, HELD_OUT_KINDS, KINDS, TEXTURES
from goodparts.drawn.photos import DrawnProduct


def test_names_are_consistent_and_unknown_ones_are_refused() -> None:
    assert len(KINDS) >= 16
    assert len(DEFECTS) >= 8
    assert {*HELD_OUT_KINDS, *TEXTURES} < set(KINDS)
    assert set(HELD_OUT_DEFECTS) < set(DEFECTS)
    with pytest.raises(ValueError, match="no kind 'sock'; there are: nut, "):
        DrawnProduct("sock", 0)
    with pytest.raises(ValueError, match="no defect 'knot'; there are: scratch, "):
        DrawnProduct("nut", 0).photo(0, "knot")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seeds_give_the_same_photo(kind: str) -> None:
    first, second = (DrawnProduct(kind, 3).photo(4, "crack", (96, 128)) for _ in range(2))
    assert first.image.shape == (96, 128, 3)
    assert first.image.dtype == np.uint8
    assert first.mask.shape == (96, 128)
    assert (first.kind, first.defect) == (kind, "crack")
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.mask, second.mask)


@pytest.mark.parametrize("kind", KINDS)
def test_good_pieces_have_an_empty_mask(kind: str) -> None:
    photo = DrawnProduct(kind, 0).photo(0)
    assert photo.defect is None
    assert photo.mask.dtype == np.bool_
    assert not photo.mask.any()
    assert photo.image.std() > 2  # something is on it


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_where_its_mask_is(kind: str, defect: str) -> None:
    pair = DrawnProduct(kind, 1).pair(2, defect)
    assert 0.0005 < pair.mask.mean() < 0.4
    np.testing.assert_array_equal(pair.good[~pair.mask], pair.bad[~pair.mask])
    change = np.abs(pair.good - pair.bad).max(axis=-1)
    assert change[pair.mask].mean() > 20


def test_photo_and_pair_show_the_same_piece() -> None:
    product = DrawnProduct("pill", 5)
    photo, pair = product.photo(6, "stain"), product.pair(6, "stain")
    np.testing.assert_array_equal(photo.mask, pair.mask)
    unspoilt = product.photo(6).image.astype(int)
    far = ~_grown(photo.mask, 16)  # farther than blur and JPEG's blocks of colour reach
    assert np.abs(photo.image.astype(int) - unspoilt)[far].max() == 0


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    grown = np.zeros_like(mask)
    grown[max(0, rows.min() - by) : rows.max() + by, max(0, columns.min() - by) : columns.max() + by] = True
    return grown


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_given_extent_is_kept_in_a_large_frame(defect: str) -> None:
    mask = DrawnProduct("tile", 2).photo(0, defect, (1024, 1224), extent=20).mask
    assert mask.shape == (1024, 1224)
    rows, columns = np.nonzero(mask)
    assert 12 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 30


@pytest.mark.parametrize("kind", KINDS)
def test_products_differ_more_than_pieces(kind: str) -> None:
    def looks(product: int, seed: int) -> np.ndarray:
        return DrawnProduct(kind, product).photo(seed).image.reshape(-1, 3).mean(axis=0)

    within = np.abs(looks(0, 0) - looks(0, 1)).mean()
    between = np.mean([np.abs(looks(0, 0) - looks(other, 0)).mean() for other in (1, 2, 3)])
    assert between > 2 * within
