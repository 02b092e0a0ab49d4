"""Masks: which pixels are defective, at the photo's size and at others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.evaluation.datasets import Sample, Saturation, Truth, load_truth, resize_mask
from goodparts.runtime.core.errors import ImageError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

SIDES = st.integers(1, 9)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.mark.parametrize("mode", [None, "1", "P", "RGB", "RGBA"])
def test_modes(tmp_path: Path, mode: str | None) -> None:
    pixels = np.zeros((8, 9), np.uint8)
    pixels[2:4, 3:6] = 255
    photo = save(tmp_path / "photo.png", np.zeros((8, 9, 3), np.uint8))
    mask = save(tmp_path / "mask.png", pixels, mode)
    np.testing.assert_array_equal(load_truth(Sample(photo, "hole", (mask,))).mask, pixels > 0)


def test_levels(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", np.zeros((1, 4), np.uint8))
    mask = save(tmp_path / "mask.png", np.array([[0, 1, 127, 128]], np.uint8))
    assert load_truth(Sample(photo, "hole", (mask,))).mask.tolist() == [[False, False, False, True]]
    assert load_truth(Sample(photo, "hole", (mask,), level=0)).mask.tolist() == [[False, True, True, True]]


def test_a_photo_that_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (20, 10)).save(tmp_path / "photo.jpg", exif=exif)
    assert load_truth(Sample(tmp_path / "photo.jpg")).mask.shape == (20, 10)


def test_a_mask_that_marks_nothing(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", np.zeros((8, 9), np.uint8))
    truth = load_truth(Sample(photo, "hole", (photo,), level=0), {5: Saturation("hole", 1, False)}).resized(4, 4)
    assert not truth.mask.any()
    assert truth.defects == ()


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", np.zeros((8, 9), np.uint8))
    mask = save(tmp_path / "mask.png", np.full((9, 8), 7, np.uint8))
    with pytest.raises(ImageError, match=r"mask.png is 8×9 pixels, its photo .*photo.png 9×8: a mask has"):
        load_truth(Sample(photo, "hole", (mask,)))
    save(mask, np.full((8, 9), 7, np.uint8))
    areas = {value: Saturation("hole", 1, False) for value in (5, 6)}
    with pytest.raises(ImageError, match="marks defects with 7: one of 5 6 is needed"):
        load_truth(Sample(photo, "hole", (mask,), level=0), areas)
    mask.write_bytes(mask.read_bytes()[:50])
    with pytest.raises(ImageError, match="missing or damaged"):
        load_truth(Sample(photo, "hole", (mask,)))
    photo.write_bytes(b"")
    with pytest.raises(ImageError, match="not a picture"):
        load_truth(Sample(photo))


@settings(deadline=None)
@given(st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays(np.bool_, shape)), SIDES, SIDES)
def test_resizing_keeps_a_defect(mask: np.ndarray, height: int, width: int) -> None:
    small = resize_mask(mask, height, width)
    assert small.shape == (height, width)
    assert small.any() == mask.any()
    assert small.all() or not mask.all()
    np.testing.assert_array_equal(resize_mask(mask, *mask.shape), mask)


def test_half_of_a_pixel_is_defective() -> None:
    mask = np.array([[1, 0, 1, 1, 0, 0], [1, 0, 1, 0, 1, 0]], np.bool_)
    assert resize_mask(mask, 1, 3).tolist() == [[True, True, False]]


def test_saturation_areas_keep_their_share() -> None:
    large, tiny = np.zeros((2, 40, 40), np.bool_)
    large[:, :20] = tiny[0, 39] = True
    truth = Truth(large | tiny, ((large, 200), (tiny, 1))).resized(20, 20)
    assert truth.defects is not None
    assert [(mask.sum(), area) for mask, area in truth.defects] == [(200, 50), (1, 1)]
    assert truth.mask.sum() == 201
    assert [
        Saturation("", *stated).area(100) for stated in ((5, False), (500, False), (0.25, True), (0.001, True))
    ] == [
        5,
        100,
        25,
        1,
    ]
