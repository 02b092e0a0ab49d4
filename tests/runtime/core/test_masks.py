from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.core.errors import ImageError
from goodparts.runtime.core.masks import Marks, read_marks
from goodparts.runtime.core.view import decode_mask, read_mask
from PIL import Image

RING = np.hypot(*(np.indices((40, 60)) - np.array([20, 30])[:, None, None])) < 15
"""What every mask here marks."""
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 64, 0, 0] + [0] * (250 * 3)


def palette(colours: list[int]) -> Callable[[Marks], Image.Image]:
    def draw(marks: Marks) -> Image.Image:
        image = Image.fromarray(np.where(marks, np.where(np.arange(60) < 30, 1, 5), 0).astype(np.uint8), "P")
        image.putpalette(colours)
        return image

    return draw


def colours(marked: tuple[int, ...], unmarked: tuple[int, ...], mode: str) -> Callable[[Marks], Image.Image]:
    return lambda marks: Image.fromarray(np.where(marks[..., None], marked, unmarked).astype(np.uint8), mode)


def values(marked: float, kind: type[np.generic]) -> Callable[[Marks], Image.Image]:
    return lambda marks: Image.fromarray((marks * marked).astype(kind))


KINDS: dict[str, tuple[str, Callable[[Marks], Image.Image]]] = {
    "one bit": ("png", Image.fromarray),
    "0 and 255": ("png", values(255, np.uint8)),
    "0 and 1": ("png", values(1, np.uint8)),
    "0 and 100": ("bmp", values(100, np.uint8)),
    "16 bits": ("png", values(65535, np.uint16)),
    "16 bits, 0 and 1": ("tif", values(1, np.uint16)),
    "32 bits": ("tif", values(7, np.int32)),
    "floats up to 1": ("tif", values(1.0, np.float32)),
    "floats up to 255": ("tif", values(255.0, np.float32)),
    "palette of VOC": ("png", palette(VOC)),
    "palette of greys": ("png", palette([0, 0, 0] + [250, 250, 250] * 255)),
    "red": ("png", colours((255, 0, 0), (0, 0, 0), "RGB")),
    "white on black, opaque": ("png", colours((255, 255, 255, 255), (0, 0, 0, 255), "RGBA")),
    "black, shape in the opacity": ("png", colours((0, 0, 0, 255), (0, 0, 0, 0), "RGBA")),
    "white, shape in the opacity": ("png", colours((255, 255, 255, 255), (255, 255, 255, 0), "RGBA")),
    "red on nothing": ("webp", colours((255, 0, 0, 255), (0, 0, 0, 0), "RGBA")),
    "grey with opacity": ("png", lambda marks: colours((9, 9, 9, 255), (9, 9, 9, 0), "RGBA")(marks).convert("LA")),
}


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


def test_a_turned_mask_is_read_as_it_is_seen(tmp_path: Path) -> None:
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
