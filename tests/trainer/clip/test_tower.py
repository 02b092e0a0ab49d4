"""The engine's grid and the memory's neighbourhood in every kind of tower, compared with plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from goodparts.runtime.core.errors import SettingsError
from goodparts.trainer.anople.tower import PromptedTower
from goodparts.trainer.clip.backbone import wrap
from goodparts.trainer.clip.tower import Tower, grid_features
from goodparts.trainer.embedded.model import HybridCLIP

from .test_resnet_tower import Doubles, resize, tiny_clip, unit
from .test_vv_tower import small_clip


def average(maps: Doubles, side: int) -> Doubles:
    """Average [C, h, h] over a window; beyond the border there is nothing to average."""
    means, reach = np.zeros_like(maps), side // 2
    for row, column in np.ndindex(maps.shape[1:]):
        window = maps[:, max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        means[:, row, column] = window.mean(axis=(1, 2))
    return means


def images(tower: Tower) -> torch.Tensor:
    shape = (2, tower.image_size, tower.image_size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def cells_of(tower: Tower, pixels: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
    """Return what the tower puts on its grid: for each map its side and its cells [B, side·side, W]."""
    seen: list[tuple[int, torch.Tensor]] = []

    def record(cells: torch.Tensor, side: int, *_: int) -> torch.Tensor:
        seen.append((side, cells))
        return cells

    tower.on_grid = record  # type: ignore[method-assign]
    tower(pixels)
    return seen


@pytest.mark.parametrize("grid", [4, 7])
@pytest.mark.parametrize("kind", ["ViT", "ResNet"])
def test_every_output_is_brought_to_the_grid_and_only_the_memory_is_averaged(kind: str, grid: int) -> None:
    visual = (small_clip(2) if kind == "ViT" else tiny_clip()).visual
    taps = (2,) if kind == "ViT" else (3,)
    tower = wrap(visual, taps, grid, 3).eval()
    pixels = images(tower)
    with torch.no_grad():
        _, *outputs = tower(pixels)
        own = {cells.shape[2]: (side, cells) for side, cells in cells_of(wrap(visual, taps).eval(), pixels)}
    for index, output in enumerate(outputs):
        assert output.shape == (2, grid * grid, tower.out_width if index == 0 else tower.tap_widths[0])
        side, cells = own[output.shape[2]]
        maps = cells[1].T.double().numpy().reshape(-1, side, side)
        expected = resize(maps, grid) if index == 0 else average(resize(maps, grid), 3)
        # float32 against float64; features are unit vectors
        np.testing.assert_allclose(output[1], unit(expected.reshape(len(maps), -1).T), atol=2e-6)


def test_the_embedded_towers_prompts_do_not_change_with_its_memory() -> None:
    visual: Any = HybridCLIP(3).visual.eval()
    own, other = wrap(visual).eval(), wrap(visual, (3, 3), 15, 1).eval()
    with torch.no_grad():
        before, after = own(images(own)), other(images(own))
        raw = visual.trunk(own.standardise(images(own).float()).permute(0, 3, 1, 2), (3,))[0]
    torch.testing.assert_close(after[0], before[0])
    assert [tuple(output.shape[1:]) for output in after[1:]] == [(225, 128), (225, 24), (225, 24)]
    torch.testing.assert_close(after[2], grid_features(raw, (15, 15)))


def test_the_prompted_tower_has_the_same_grid_and_neighbourhood() -> None:
    tower = wrap(small_clip(2).visual, None, 4, 3).eval()
    with torch.no_grad():
        seen = PromptedTower(tower)(images(tower), torch.zeros(0, 1, 16), torch.zeros(2, 0, 16))
        for one, other in zip(seen, tower(images(tower)), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("grid", "neighbourhood", "message"),
    [
        (0, 1, "memory grid 0: its side is from 1 to 24 patches"),
        (25, 1, "memory grid 25: its side is from 1 to 24 patches"),
        (5, 2, "neighbourhood 2: give an odd number from 1"),
        (5, -1, "neighbourhood -1: give an odd number from 1"),
        (5, 7, "neighbourhood 7: .* to the 5 patches of the grid's side"),
    ],
)
def test_an_impossible_grid_or_neighbourhood_is_refused(grid: int, neighbourhood: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        wrap(small_clip(1).visual, None, grid, neighbourhood)
