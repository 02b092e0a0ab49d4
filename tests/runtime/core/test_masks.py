from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.core.errors import ImageError
from goodparts.runtime.core.masks import read_marks
from goodparts.runtime.core.view import decode_mask, read_mask
from PIL import Image

from tests.conftest import draw_part
from tests.masks import KINDS, RING


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_mask_marks_the_same(kind: str, tmp_path: Path) -> None:
    ending, draw = KINDS[kind]
    path = tmp_path / f"mask.{ending}"
    draw(RING).save(path, **({"lossless": True} if ending == "webp" else {}))
    np.testing.assert_array_equal(read_marks(path), RING)
    np.testing.assert_array_equal(decode_mask(read_mask(path)), RING)


def test_the_noise_of_a_lossy_file_marks_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 9, (40, 60), np.uint8)
    Image.fromarray(noise).save(tmp_path / "black.jpg", quality=90)
    Image.fromarray(RING.astype(np.uint8) * 255).save(tmp_path / "ring.jpg", quality=90)
    assert not read_marks(tmp_path / "black.jpg").any()
    assert (read_marks(tmp_path / "ring.jpg") != RING).mean() < 0.02


def test_a_mask_is_turned_as_its_exif_tells(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for ending in ("png", "tif"):
        path = tmp_path / f"mask.{ending}"
        Image.fromarray(np.rot90(RING).astype(np.uint8) * 255).save(path, exif=exif)
        np.testing.assert_array_equal(read_marks(path), RING)


@pytest.mark.parametrize(
    ("value", "message"),
    [(0, r"marks no pixel \(values 0, mode L\)"), (255, r"marks every pixel \(values 255, mode L\)")],
)
def test_a_mask_without_a_shape_is_refused_with_its_values(value: int, message: str, tmp_path: Path) -> None:
    Image.new("L", (60, 40), value).save(tmp_path / "mask.png")
    with pytest.raises(ImageError, match=f"mask .*mask.png {message}: it must be bright where to look"):
        read_mask(tmp_path / "mask.png")


def test_a_grey_photo_is_refused_as_a_mask_and_soft_edges_are_not(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    draw_part(1).convert("L").save(path)
    with pytest.raises(ImageError, match=r"mask .*mask.png: \d+ % of its pixels are grey .* Is it a photo\? Give a"):
        read_mask(path)
    soft = Image.fromarray(RING).convert("L").resize((600, 400), Image.Resampling.BILINEAR)
    soft.save(path)
    assert decode_mask(read_mask(path)).any()
