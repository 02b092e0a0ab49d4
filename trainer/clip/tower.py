"""What every image tower shares: uint8 pixels in, l2-normalised features out, and what the engine says about them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from goodparts.runtime.core.errors import SettingsError
from torch import Tensor, nn

# CLIP's own; some checkpoints bring others.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


Taps = tuple[int | tuple[int, ...], ...]
"""What the memory is taken from: an output for each block, counted from 1, or for several blocks together."""


class Tower(nn.Module):
    """Wraps a frozen open_clip image tower; image uint8 [B,S,S,3] → global, local, and one memory per tap.

    image_size: S; grid: (rows, columns) with rows·columns = P, of every output; neighbourhood: odd side of the square
    of patches that each patch of the memory is averaged over, 1 for none; out_width: of the joint space, D; taps: the
    blocks that the memory is taken from, counted from 1, and tap_widths, W of each; joined: the blocks before each tap
    whose features lie in the same output.
    """

    visual: Any  # open_clip is untyped
    mean: Tensor
    std: Tensor
    image_size: int
    grid: tuple[int, int]
    neighbourhood: int
    out_width: int
    taps: tuple[int, ...]
    tap_widths: tuple[int, ...]

    @property
    def joined(self) -> tuple[tuple[int, ...], ...]:
        return ((),) * len(self.taps)

    def __init__(self, visual: Any, activation: nn.Module) -> None:
        """activation: one of the model's nonlinearities; all are alike."""
        super().__init__()
        self.visual = visual
        self._activation = type(activation).__name__
        preprocessing = getattr(visual, "preprocess_cfg", None) or {}
        self.register_buffer("mean", torch.tensor(preprocessing.get("mean") or MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.get("std") or STD), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode image uint8 RGB [B,S,S,3]: l2-normalised global [B,D], local [B,P,D], and [B,P,W] per tap."""
        raise NotImplementedError

    def set_grid(self, grid: int, neighbourhood: int) -> None:
        """Set the side of the grid of every output, and of the neighbourhood that the memory is averaged over.

        Raises:
            SettingsError: The grid has no patch or more patches than pixels, or the neighbourhood has no patch in its
                middle or is larger than the grid.
        """
        if not 1 <= grid <= self.image_size:
            raise SettingsError(
                f"memory grid {grid}: its side is from 1 to {self.image_size} patches, as many as the image has pixels"
            )
        if neighbourhood % 2 == 0 or not 1 <= neighbourhood <= grid:
            raise SettingsError(
                f"neighbourhood {neighbourhood}: give an odd number from 1, which averages nothing, to the {grid} "
                "patches of the grid's side"
            )
        self.grid, self.neighbourhood = (grid, grid), neighbourhood

    def on_grid(self, cells: Tensor, side: int, neighbourhood: int = 1) -> Tensor:
        """Bring the cells of a map [B,side·side,W] to the grid, average neighbours, and l2-normalise: [B,P,W]."""
        if side != self.grid[0] or neighbourhood > 1:
            maps = cells.transpose(1, 2).reshape(-1, cells.shape[2], side, side)
            return grid_features(maps, self.grid, neighbourhood)
        return F.normalize(cells, dim=-1)

    def describe(self) -> str:
        """Return what the features depend on besides the weights: activation, mean and standard deviation of pixels."""
        return f"{self._activation} {self.mean.tolist()} {self.std.tolist()}"

    def standardise(self, pixels: Tensor) -> Tensor:
        """Scale RGB from 0 to 255, pixel beside pixel [B,…,n·3], to what the model was trained on.

        A row holds many pixels: for a last dimension of 3, libraries take three steps where one vector would do.
        """
        count = pixels.shape[-1] // len(self.mean)
        return (pixels / 255.0 - self.mean.repeat(count)) / self.std.repeat(count)


def grid_features(maps: Tensor, grid: tuple[int, int], neighbourhood: int = 1) -> Tensor:
    """Bring maps [B,W,h,w] to a grid bilinearly, average each patch with its neighbours, l2-normalise: [B,P,W].

    The mean leaves out what lies beyond the border.
    """
    if tuple(maps.shape[2:]) != grid:
        maps = F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
    if neighbourhood > 1:
        maps = F.avg_pool2d(maps, neighbourhood, 1, neighbourhood // 2, count_include_pad=False)
    # F.normalize would write the norms out as wide as the features, and OpenVINO would take a power of each.
    norm: Tensor = torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    return (maps / norm.clamp_min(1e-12)).flatten(2).transpose(1, 2).contiguous()


def check_taps(taps: Taps, blocks: int) -> tuple[int, ...]:
    """Return the taps; raise SettingsError unless they are numbers of blocks in rising order."""
    single = tuple(tap for tap in taps if isinstance(tap, int))
    if len(single) < len(taps):
        raise SettingsError("memory taps that are joined by + are of timm: backbones: separate them by commas")
    taps = single
    if not taps or not all(1 <= tap <= blocks for tap in taps) or list(taps) != sorted(taps):
        raise SettingsError(f"memory taps {taps}: block numbers from 1 to {blocks} in rising order")
    return taps
