"""The base class of image towers: a tower reads uint8 pixels, returns l2-normalised features and describes them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from goodparts.runtime.core.errors import SettingsError
from torch import Tensor, nn

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""The mean and standard deviation of CLIP's pixels in 0 to 1; some checkpoints have their own."""

Taps = tuple[int | tuple[int, ...], ...]
"""The blocks that the memory is taken from, counted from 1: one output for each entry; a tuple joins several blocks."""


class Tower(nn.Module):
    """Wraps a frozen open_clip image tower.

    In shapes, B is the number of images, S the side in pixels, P the number of patches, D the width of the joint space,
    and W the width of a memory tap.

    Attributes:
        image_size: S.
        grid: (rows, columns) of every output; their product is P.
        neighbourhood: The odd side of the square of patches that each patch of the memory is averaged over; 1 for none.
        out_width: D.
        taps: The blocks that the memory is taken from, counted from 1; for joined blocks, the last of them.
        tap_widths: W of each tap.

    Args:
        visual: The image tower.
        activation: One of the tower's nonlinearities, which are all alike.
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
        """For each tap, the earlier blocks whose features are joined to it in the same output."""
        return ((),) * len(self.taps)

    def __init__(self, visual: Any, activation: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self._activation = type(activation).__name__
        preprocessing = getattr(visual, "preprocess_cfg", None) or {}
        self.register_buffer("mean", torch.tensor(preprocessing.get("mean") or MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.get("std") or STD), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            image: [B, S, S, 3], uint8, RGB.

        Returns:
            Global [B, D], local [B, P, D], and memory [B, P, W] for each tap, all l2-normalised.
        """
        raise NotImplementedError

    def set_grid(self, grid: int, neighbourhood: int) -> None:
        """Set the grid of every output, and the neighbourhood that the memory is averaged over.

        Args:
            grid: The side of the grid in patches.
            neighbourhood: The odd side of the neighbourhood in patches; 1 averages nothing.

        Raises:
            SettingsError: The grid has no patch or more patches than pixels, or the neighbourhood has an even side or
                is larger than the grid.
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
        """Resize a map to the grid, average each patch with its neighbours, and l2-normalise it.

        Args:
            cells: [B, side·side, W].
            side: The side of the map.
            neighbourhood: The odd side of the square of patches that is averaged over; 1 averages nothing.

        Returns:
            [B, P, W].
        """
        if side != self.grid[0] or neighbourhood > 1:
            maps = cells.transpose(1, 2).reshape(-1, cells.shape[2], side, side)
            return grid_features(maps, self.grid, neighbourhood)
        return F.normalize(cells, dim=-1)

    def describe(self) -> str:
        """Return all that the features depend on apart from the weights: activation, and pixels' mean and deviation."""
        return f"{self._activation} {self.mean.tolist()} {self.std.tolist()}"

    def standardise(self, pixels: Tensor) -> Tensor:
        """Subtract the mean from RGB values and divide by the deviation, as the model was trained.

        Args:
            pixels: […, n·3], 0 to 255: the colours of n pixels in a row. With only 3 numbers in the last dimension,
                libraries take three steps where one vector operation would do.

        Returns:
            […, n·3].
        """
        count = pixels.shape[-1] // len(self.mean)
        return (pixels / 255.0 - self.mean.repeat(count)) / self.std.repeat(count)


def grid_features(maps: Tensor, grid: tuple[int, int], neighbourhood: int = 1) -> Tensor:
    """Resize maps to a grid bilinearly, average each patch with its neighbours, and l2-normalise it.

    The average takes only patches inside the map.

    Args:
        maps: [B, W, h, w].
        grid: (rows, columns), whose product is P.
        neighbourhood: The odd side of the square of patches that is averaged over; 1 averages nothing.

    Returns:
        [B, P, W].
    """
    if tuple(maps.shape[2:]) != grid:
        maps = F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
    if neighbourhood > 1:
        maps = F.avg_pool2d(maps, neighbourhood, 1, neighbourhood // 2, count_include_pad=False)
    # F.normalize would expand the norms to the features' width, and OpenVINO would compute a power of each number.
    norm: Tensor = torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    return (maps / norm.clamp_min(1e-12)).flatten(2).transpose(1, 2).contiguous()


def check_taps(taps: Taps, blocks: int) -> tuple[int, ...]:
    """Return the taps after checking them.

    Args:
        taps: Numbers of blocks, counted from 1, in rising order.
        blocks: The number of the tower's blocks.

    Raises:
        SettingsError: The taps are none, out of range, out of order, or joined, which only timm's towers support.
    """
    single = tuple(tap for tap in taps if isinstance(tap, int))
    if len(single) < len(taps):
        raise SettingsError("memory taps joined by + need a timm: backbone: separate them by commas")
    taps = single
    if not taps or not all(1 <= tap <= blocks for tap in taps) or list(taps) != sorted(taps):
        raise SettingsError(f"memory taps {taps}: give block numbers from 1 to {blocks} in rising order")
    return taps
