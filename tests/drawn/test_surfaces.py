from __future__ import annotations

import numpy as np
import pytest
from goodparts.drawn.parts import (
    BLEMISHES,
    DEFECTS,
    HELD_OUT_BLEMISHES,
    HELD_OUT_PICTURES,
    HELD_OUT_SURFACES,
    KINDS,
    PICTURES,
    SURFACES,
)
from goodparts.drawn.photos import DrawnProduct
from goodparts.drawn.pictures import LICENCES


def test_held_out_names_exist_and_no_name_is_used_twice() -> None:
    assert set(HELD_OUT_SURFACES) < set(SURFACES)
    assert set(HELD_OUT_PICTURES) < set(PICTURES)
    assert set(HELD_OUT_BLEMISHES) < set(BLEMISHES)
    assert len({*KINDS, *SURFACES, *PICTURES}) == len(KINDS) + len(SURFACES) + len(PICTURES)
    assert not {*DEFECTS} & {*BLEMISHES}


@pytest.mark.parametrize("surface", SURFACES)
def test_the_pieces_of_a_surface_look_alike_and_are_not_the_same(surface: str) -> None:
    first, second = (DrawnProduct(surface, 2).photo(piece, size=(96, 96)).image.astype(float) for piece in (0, 1))
    again = DrawnProduct(surface, 2).photo(0, size=(96, 96)).image
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert np.abs(first.mean(axis=(0, 1)) - second.mean(axis=(0, 1))).max() < 30


@pytest.mark.parametrize("surface", ["stone", "assembly"])
@pytest.mark.parametrize("blemish", BLEMISHES)
def test_a_blemish_is_where_its_mask_is(surface: str, blemish: str) -> None:
    pair = DrawnProduct(surface, 1).pair(2, blemish, extent=50)
    assert 0.0005 < pair.mask.mean() < 0.4
    np.testing.assert_array_equal(pair.good[~pair.mask], pair.bad[~pair.mask])


def test_a_weaker_defect_changes_less() -> None:
    product = DrawnProduct("nut", 1)
    full, faint = (product.photo(0, "hole", strength=strength).image.astype(float) for strength in (1.0, 0.5))
    good = product.photo(0).image
    assert 0 < np.abs(faint - good).sum() < np.abs(full - good).sum()


def test_a_skin_changes_the_part_and_a_ground_what_it_lies_on() -> None:
    plain, skinned = DrawnProduct("nut", 1), DrawnProduct("nut", 1, skin="stone", ground="label")
    assert not np.array_equal(plain.photo(0).image, skinned.photo(0).image)


def test_every_listed_photograph_is_free_to_use() -> None:
    for _, _, licence in LICENCES.values():
        assert licence.startswith(("CC0, ", "CC BY ", "public domain, ", "no known copyright restrictions, "))


def test_the_pieces_of_a_photograph_are_different_crops() -> None:
    pytest.importorskip("skimage")
    first, second = (DrawnProduct("gravel", 3).photo(piece).image for piece in (0, 1))
    assert first.std() > 5
    assert not np.array_equal(first, second)
