"""Masks: which pixels are defective, at the photo's size and resized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.evaluation.datasets import Sample, Saturation, Truth, load_truth, resize_mask
from goodparts.runtime.core.errors import FileError, ImageError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tests.masks import KINDS, RING, VOC

SIDES = st.integers(1, 9)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(tmp_path / "photo.png", np.zeros((40, 60, 3), np.uint8))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_numbered", [False, True])
def test_every_kind_of_mask_marks_the_same_defect(kind: str, is_numbered: bool, photo: Path, tmp_path: Path) -> None:
    ending, draw = KINDS[kind]
    mask = tmp_path / f"mask.{ending}"
    draw(RING).save(mask, **({"lossless": True} if ending == "webp" else {}))
    np.testing.assert_array_equal(load_truth(Sample(photo, "hole", (mask,), is_numbered)).mask, RING)


def test_a_mask_is_split_in_the_middle_unless_its_values_number_defects(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", np.zeros((1, 5), np.uint8))
    mask = save(tmp_path / "mask.png", np.array([[0, 1, 127, 128, 255]], np.uint8))
    assert load_truth(Sample(photo, "hole", (mask,))).mask.tolist() == [[False, False, False, True, True]]
    numbered = Sample(photo, "hole", (mask,), is_numbered=True)
    assert load_truth(numbered).mask.tolist() == [[False, True, True, True, True]]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_saturation_areas_are_found_by_the_stored_number(kind: type[np.generic], photo: Path, tmp_path: Path) -> None:
    sample = Sample(photo, "hole", (save(tmp_path / "mask.tif", (RING * 7).astype(kind)),), is_numbered=True)
    truth = load_truth(sample, {7: Saturation("hole", 11, False)})
    assert truth.defects is not None
    assert [area for _, area in truth.defects] == [11]


def test_saturation_areas_are_found_by_the_index_in_a_palette(photo: Path, tmp_path: Path) -> None:
    mask = Image.fromarray(RING.astype(np.uint8) * 5, "P")
    mask.putpalette(VOC)
    mask.save(tmp_path / "mask.png")
    truth = load_truth(Sample(photo, "hole", (tmp_path / "mask.png",), True), {5: Saturation("hole", 11, False)})
    assert truth.defects is not None
    assert [area for _, area in truth.defects] == [11]


def test_a_photo_that_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (20, 10)).save(tmp_path / "photo.jpg", exif=exif)
    assert load_truth(Sample(tmp_path / "photo.jpg")).mask.shape == (20, 10)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_photos_and_masks_fit_however_their_files_are_turned(ending: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    stored = np.ascontiguousarray(np.rot90(RING, turns)).astype(np.uint8) * 255
    photo, mask = tmp_path / f"photo.{ending}", tmp_path / "mask.tif"
    for path in (photo, mask):
        Image.fromarray(stored).save(path, exif=exif)
    np.testing.assert_array_equal(load_truth(Sample(photo, "hole", (mask,))).mask, RING)


@pytest.mark.parametrize("is_numbered", [False, True])
def test_a_mask_that_marks_nothing_is_named_with_its_values(is_numbered: bool, photo: Path, tmp_path: Path) -> None:
    mask = save(tmp_path / "mask.png", np.zeros((40, 60), np.uint8))
    with pytest.raises(ImageError, match=r"mask .*mask.png marks no pixel of the bad photo .*\(values 0, mode L\)"):
        load_truth(Sample(photo, "hole", (mask,), is_numbered))


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png", np.zeros((8, 9), np.uint8))
    mask = save(tmp_path / "mask.png", np.full((9, 8), 7, np.uint8))
    with pytest.raises(ImageError, match=r"mask.png is 8×9 pixels, its photo .*photo.png 9×8: a mask must have"):
        load_truth(Sample(photo, "hole", (mask,)))
    save(mask, np.full((8, 9), 7, np.uint8))
    areas = {value: Saturation("hole", 1, False) for value in (5, 6)}
    with pytest.raises(ImageError, match="marks defects with 7: a mask must have one of the values 5 6"):
        load_truth(Sample(photo, "hole", (mask,), is_numbered=True), areas)
    mask.write_bytes(mask.read_bytes()[:50])
    with pytest.raises(ImageError, match="mask.png is damaged or cut short"):
        load_truth(Sample(photo, "hole", (mask,)))
    photo.write_bytes(b"")
    with pytest.raises(ImageError, match="not a picture"):
        load_truth(Sample(photo))
    mask.unlink()
    with pytest.raises(FileError, match=r"cannot read .*mask.png"):
        load_truth(Sample(save(photo, np.zeros((8, 9), np.uint8)), "hole", (mask,)))


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
