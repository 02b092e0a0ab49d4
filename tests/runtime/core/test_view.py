from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import resize
from goodparts.runtime.core.scoring import Floats
from goodparts.runtime.core.view import PADDING, Box, View, encode_mask, tile_edges
from PIL import Image

FRAME = np.random.default_rng(0).integers(0, 256, (60, 120, 3), np.uint8)


def test_squash_fills_the_square() -> None:
    np.testing.assert_array_equal(View().cut(FRAME, 32)[0], resize(FRAME, (32, 32)))


def test_only_the_region_is_resized() -> None:
    view = View(roi=Box(30, 10, 40, 20))
    np.testing.assert_array_equal(view.cut(FRAME, 32)[0], resize(FRAME[10:30, 30:70], (32, 32)))


def test_letterbox_keeps_the_aspect_ratio_and_pads() -> None:
    square = View(resize="letterbox").cut(FRAME, 32)[0]
    np.testing.assert_array_equal(square[8:24], resize(FRAME, (16, 32)))
    assert (square[:8] == PADDING).all()
    assert (square[24:] == PADDING).all()


@pytest.mark.parametrize("box", [(-1, 0, 10, 10), (0, 0, 121, 10), (0, 55, 10, 10), (0, 0, 7, 20)])
def test_a_region_outside_the_frame_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(SettingsError, match="does not lie inside a 120×60 frame"):
        View(roi=Box(*box)).cut(FRAME, 32)


def tent(rows: int, columns: int) -> Floats:
    """Return a smooth picture, [rows, columns]. Its values are scores that a map should show again."""
    y, x = np.mgrid[0:rows, 0:columns]
    return np.asarray(np.sin(y / rows * 3) + np.cos(x / columns * 4), np.float32)


@pytest.mark.parametrize("tiles", [(1, 1), (2, 3), (3, 1)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_tiles_cover_the_region_and_overlap(tiles: tuple[int, int], overlap: float) -> None:
    view = View(tiles=tiles, overlap=overlap)
    assert view.cut(FRAME, 16).shape == (tiles[0] * tiles[1], 16, 16, 3)
    for length, count in zip((60, 120), tiles, strict=True):
        edges = tile_edges(length, count, overlap)
        assert edges[0][0] == 0
        assert edges[-1][1] == length
        for (start, stop), (following, _) in itertools.pairwise(edges):
            assert stop - following == pytest.approx(overlap * (stop - start), abs=2)  # rounding of both ends


@pytest.mark.parametrize("resize_", ["squash", "letterbox"])
@pytest.mark.parametrize(("tiles", "overlap"), [((1, 1), 0.0), ((2, 3), 0.0), ((2, 3), 0.25), ((4, 2), 0.5)])
def test_stitching_undoes_cutting(
    tiles: tuple[int, int], overlap: float, resize_: Literal["squash", "letterbox"]
) -> None:
    """Use a frame whose grey values are the scores. Cutting, averaging into grids and stitching does not change it."""
    scene = tent(480, 640)
    frame = np.repeat(((scene + 2) * 60).astype(np.uint8)[..., None], 3, axis=2)
    view = View(roi=Box(64, 48, 512, 400), tiles=tiles, overlap=overlap, resize=resize_)
    views = view.cut(frame, 160)[..., 0].astype(np.float32)
    grids = views.reshape(-1, 20, 8, 20, 8).mean(axis=(2, 4))
    seen = view.stitch(grids, 480, 640)
    assert seen.shape == (400 * tiles[0], 400 * tiles[1])
    expected = np.asarray(
        Image.fromarray(frame[48:448, 64:576, 0]).resize(seen.shape[::-1], Image.Resampling.BICUBIC), int
    )
    inner = (slice(40, -40), slice(40, -40))  # the outermost half cell is constant, not extrapolated
    apart = np.abs(seen - expected)[inner]
    assert apart.mean() < 3  # of 255; one cell spans up to 12 grey levels
    if resize_ == "squash":  # a letterbox's outermost cells are partly padding
        assert apart.max() < 8


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(), (100, 200)),
        (View(resize="letterbox"), (200, 200)),  # half of the rows are padding
        (View(roi=Box(0, 0, 1000, 500)), (50, 100)),
        (View(tiles=(2, 4), overlap=0.0), (50, 50)),
        (View(tiles=(1, 2), overlap=0.5), (100, 200 / 1.5)),
    ],
)
def test_a_patch_covers_its_part_of_a_frame(view: View, expected: tuple[float, float]) -> None:
    assert view.patch(1000, 2000, (10, 10)) == pytest.approx(expected, rel=0.01)  # tiles end at whole pixels


def test_a_peak_is_shown_where_it_is() -> None:
    view = View(tiles=(2, 2), overlap=0.2)
    grids = np.zeros((4, 8, 8), np.float32)
    grids[3, 6, 6] = 1.0  # lower right tile: covers 4/9 to 1 of the region; the cell's centre is at 6.5/8 of it
    seen = view.stitch(grids, 900, 900)
    y, x = np.unravel_index(seen.argmax(), seen.shape)
    place = (4 / 9 + 5 / 9 * 6.5 / 8) * 800
    assert abs(y - place) < 3
    assert abs(x - place) < 3


def test_masked_places_are_painted_over_and_never_reported() -> None:
    mask = np.zeros((60, 120), bool)
    mask[:, :60] = True
    view = View(mask=encode_mask(mask))
    square = view.cut(FRAME, 32)[0]
    assert (square[:, 20:] == PADDING).all()
    assert (square[:, :12] != PADDING).any()
    seen = view.stitch(np.ones((1, 4, 4), np.float32), 60, 120)
    assert (seen[:, 200:] == 0).all()
    assert (seen[:, :200] > 0.99).all()
    with pytest.raises(SettingsError, match="the mask is 120×60 pixels, the frame 64×64"):
        view.cut(np.zeros((64, 64, 3), np.uint8), 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tiles": (0, 2)}, "tiles 0x2: give rows x columns, at most 256 tiles"),
        ({"tiles": (16, 17)}, "tiles 16x17"),
        ({"overlap": 0.6}, "overlap 0.6: 0 to 0.5"),
    ],
)
def test_impossible_tiles_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        View(**change)


def test_more_tiles_than_pixels_are_refused() -> None:
    with pytest.raises(SettingsError, match="64 tiles along 60 pixels"):
        View(tiles=(64, 1), overlap=0.0).cut(FRAME, 32)
