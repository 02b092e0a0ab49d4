from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from goodparts.runtime.core.errors import FileError, ImageError
from goodparts.runtime.core.preprocess import decode, load_rgb, read_size, resize
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


COLOUR = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8))
DATA = encoded(COLOUR)


def test_rgb_is_taken_as_it_is() -> None:
    np.testing.assert_array_equal(decode(encoded(COLOUR), "x"), np.asarray(COLOUR))


def test_grey_is_repeated_over_the_channels() -> None:
    grey = COLOUR.convert("L")
    rgb = decode(encoded(grey), "x")
    assert all(np.array_equal(rgb[..., channel], np.asarray(grey)) for channel in range(3))


def test_transparency_is_dropped_and_colours_kept() -> None:
    rgba = np.dstack([np.asarray(COLOUR), np.zeros((16, 24), np.uint8)])
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(rgba)), "x"), np.asarray(COLOUR))
    np.testing.assert_array_equal(load_rgb(rgba), np.asarray(COLOUR))


def test_palette_and_cmyk_become_rgb() -> None:
    palette = Image.new("P", (24, 16), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    assert (decode(encoded(palette), "x") == (200, 100, 50)).all()
    cmyk = Image.new("CMYK", (24, 16), (0, 255, 255, 0))
    assert np.abs(decode(encoded(cmyk, "TIFF"), "x").astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_divided_by_257_whatever_the_picture_holds(kind: str) -> None:
    dark = np.tile(np.array([0, 257, 514, 3000], np.uint16), (16, 6))  # nothing near full scale
    rgb = decode(encoded(Image.fromarray(dark), kind), "x")
    np.testing.assert_array_equal(rgb[..., 0], np.tile([0, 1, 2, 12], (16, 6)))
    np.testing.assert_array_equal(load_rgb(dark), rgb)


def test_a_nearly_black_frame_is_not_scaled() -> None:
    frame = np.ones((16, 16, 3), np.uint8)
    np.testing.assert_array_equal(load_rgb(frame), frame)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° to show upright
    rgb = decode(encoded(COLOUR, exif=exif), "x")
    np.testing.assert_array_equal(rgb, np.rot90(np.asarray(COLOUR), -1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_orientation_of_every_format_is_shown_upright(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored, options = np.asarray(COLOUR), {"quality": 100} if kind == "JPEG" else {}
    turned = {1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.transpose(1, 0, 2),
              6: np.rot90(stored, -1), 7: np.rot90(stored, -1)[:, ::-1][::-1, ::-1], 8: np.rot90(stored)}  # fmt: skip
    data = encoded(COLOUR, kind, exif=exif, **options)
    rgb = decode(data, "x")
    assert rgb.shape == turned[orientation].shape
    (tmp_path / "photo").write_bytes(data)
    assert read_size(tmp_path / "photo") == (rgb.shape[1], rgb.shape[0])
    if kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(rgb, turned[orientation])


def odd_rational(orientation: int) -> bytes:
    """Return EXIF with a rational of −1/0, which Pillow can read but not write."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x011A] = 1.0
    data = exif.tobytes()
    return data.replace((1).to_bytes(4, "little") * 2, b"\xff\xff\xff\xff\0\0\0\0")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_with_bad_exif_is_read(kind: str) -> None:
    for exif in (odd_rational(6), b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0nonsense"):
        rgb = decode(encoded(COLOUR, kind, exif=exif), "x")
        assert rgb.shape in ((24, 16, 3), (16, 24, 3))
    assert decode(encoded(COLOUR, kind, exif=odd_rational(6)), "x").shape == (24, 16, 3)


def huge_png() -> bytes:
    """Return a valid one-bit PNG of 20000×20000 pixels and a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (20000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes(2501) * 20000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BROKEN = {
    "empty": (b"", r"is empty \(0 bytes\)"),
    "text": (b"not a picture at all", "not a picture in a known format"),
    "cut short": (encoded(COLOUR)[:200], "damaged or cut short"),
    "cut jpeg": (encoded(COLOUR.resize((200, 200)), "JPEG")[:3000], "damaged or cut short"),
    "animated": (
        encoded(COLOUR, "GIF", save_all=True, append_images=[COLOUR.rotate(90)]),
        "holds 2 frames: save the one",
    ),
    "floats": (encoded(Image.fromarray(np.zeros((16, 16), np.float32)), "TIFF"), "32-bit floats: 8 or 16 bits"),
    "huge": (huge_png(), "too large: up to 179 megapixels"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gives_one_clear_line(name: str) -> None:
    data, message = BROKEN[name]
    with pytest.raises(ImageError, match=message) as caught:
        decode(data, "photo.png")
    assert "photo.png" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [struct.error, TypeError, ZeroDivisionError, KeyError, RuntimeError, MemoryError])
def test_any_exception_of_a_decoder_becomes_one_line_with_the_name(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Image.Image) -> None:
        raise error("odd")

    monkeypatch.setattr(Image.Image, "load", fail)
    with pytest.raises(ImageError, match=r"photo\.png is damaged or cut short: '?odd"):
        decode(DATA, "photo.png")


FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")


@given(st.sampled_from(FORMATS), st.data())
def test_a_damaged_file_gives_a_picture_or_one_line_with_its_name(kind: str, data: st.DataObject) -> None:
    file = bytearray(encoded(COLOUR, kind))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(file) - 1))
        file[position] = data.draw(st.integers(0, 255))
    del file[len(file) - data.draw(st.integers(0, len(file) // 2)) :]
    try:
        decode(bytes(file), "photo")
    except ImageError as error:
        message = str(error)
    else:
        message = "photo"
    assert "photo" in message
    assert "\n" not in message


@given(st.binary(max_size=300), st.integers(0, 60))
def test_random_bytes_raise_only_image_errors(noise: bytes, keep: int) -> None:
    data = encoded(COLOUR)[:keep] + noise
    with contextlib.suppress(ImageError):
        assert decode(data, "x").dtype == np.uint8


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((1, 1, 3), np.uint8), "1×1 pixels: at least 8×8"),
        (np.zeros((16, 16, 3), np.float32), "dtype float32: uint8 and uint16"),
        (np.zeros((16, 16, 2), np.uint8), r"shape \(16, 16, 2\)"),
        (np.zeros(16, np.uint8), r"shape \(16,\)"),
        (b"bytes", "picture is a bytes: a path, a Pillow image or a numpy array"),
        (None, "picture is a NoneType"),
        (Image.open(io.BytesIO(encoded(COLOUR.resize((200, 200)), "JPEG")[:3000])), "damaged or cut short"),
    ],
)
def test_a_picture_without_a_defined_conversion_is_refused(picture: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_rgb(picture)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*nothing\.png: No such file"):
        load_rgb(tmp_path / "nothing.png")


def test_resize_is_antialiased() -> None:
    # With antialiasing a fine checkerboard turns grey. Without it, it would be black or white.
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    small = resize(np.repeat(board[..., None], 3, axis=2).astype(np.uint8), (16, 16))
    assert np.abs(small.astype(int) - 127).max() <= 2
