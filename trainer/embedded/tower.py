"""The embedded CLIP's image tower: an ImageNet trunk as patch embedding and memory, and small maps to the prompts.

The taps of the trunk are the memory. For the prompts, the taps are concatenated on the coarser tap's grid, together
with each patch's difference from its surround. Two maps take the patches to the joint space, a linear map and a map
with a hidden layer; the sum of both is the local feature. Transformer blocks on top, with the two streams of
vv_tower.py, were measured and left out: they fitted painted defects better and real defects worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clip.tower import Taps, Tower, check_taps, grid_features
from .mobilenet import MEAN, STD, MobileNetV2Trunk

GRID, NEIGHBOURHOOD = 30, 3
"""The side of the grid of every output, and the neighbourhood that the memory is averaged over, by default."""


@dataclass(frozen=True)
class HybridShape:
    """The sizes of a hybrid tower.

    Attributes:
        image_size: The side of the square picture in pixels.
        taps: Blocks of the trunk, counted from 1, in rising order; the prompts use the last one's grid.
        surround: The odd side of the square of patches whose mean is subtracted from each patch. The difference is
            concatenated to the patch, so that a linear map reads contrast. 0 leaves it out.
        hidden: The width of the hidden layer.
        out_width: D, the width of the joint space.
    """

    image_size: int = 240
    taps: tuple[int, ...] = (6, 13)
    surround: int = 5
    hidden: int = 128
    out_width: int = 128


class HybridVisual(nn.Module):
    """The weights of the tower, under the names that the file gives them.

    Args:
        shape: The tower's sizes.
    """

    patch_mean: Tensor
    patch_scale: Tensor

    def __init__(self, shape: HybridShape) -> None:
        super().__init__()
        self.shape = shape
        self.preprocess_cfg = {"mean": MEAN, "std": STD}
        self.trunk = MobileNetV2Trunk(shape.taps)
        strides = [self.trunk.strides[tap - 1] for tap in shape.taps]
        self.grids = tuple(-(-shape.image_size // stride) for stride in strides)
        """The side of each tap's grid."""
        self.grid = self.grids[-1]
        self.tap_widths = tuple(self.trunk.widths[tap - 1] for tap in shape.taps)
        cells = [(side // self.grid) ** 2 for side in self.grids]
        patch_width = sum(count * width for count, width in zip(cells, self.tap_widths, strict=True))
        patch_width *= 2 if shape.surround else 1
        self.register_buffer("patch_mean", torch.zeros(patch_width))
        self.register_buffer("patch_scale", torch.ones(patch_width))
        self.linear = nn.Linear(patch_width, shape.out_width)
        self.hidden = nn.Linear(patch_width, shape.hidden)
        self.bent = nn.Linear(shape.hidden, shape.out_width, bias=False)
        self.attend = nn.Linear(shape.out_width, 1)
        """The logit of each local patch's weight in the global feature; a softmax over the patches follows."""

    def patches(self, taps: tuple[Tensor, ...]) -> Tensor:
        """Concatenate the taps' maps and the contrast to the surround on the last tap's grid, and standardise them.

        Args:
            taps: [B, W, h, w] for each tap.

        Returns:
            [B, P, patch_width].
        """
        parts = []
        for maps in taps:
            cells = maps.shape[2] // self.grid
            parts.append(F.pixel_unshuffle(maps, cells) if cells > 1 else maps)
        together = torch.cat(parts, dim=1)
        if side := self.shape.surround:
            around = F.avg_pool2d(together, side, 1, side // 2, count_include_pad=False)
            together = torch.cat([together, together - around], dim=1)
        standard: Tensor = (together.flatten(2).transpose(1, 2) - self.patch_mean) * self.patch_scale
        return standard

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Map each patch into the joint space independently, and pool the patches.

        The pool's weights are computed from the patches, so a small defect is not averaged away.

        Args:
            patches: [B, P, patch_width], as `patches` returns them.

        Returns:
            Global [B, D] and local [B, P, D], not normalised.
        """
        local = self.linear(patches) + self.bent(F.gelu(self.hidden(patches)))
        share = self.attend(local).softmax(dim=1)
        return (share * local).sum(dim=1), local


class HybridTower(Tower):
    """Wraps a HybridVisual; its memory is the outputs of the trunk's tapped blocks.

    Args:
        visual: The weights.
        taps: The blocks that the memory is taken from, counted from 1, in rising order; None for those that the prompts
            read.
        grid: The side of the grid of patches of every output; None for GRID.
        neighbourhood: The odd side of the square of patches that each patch of the memory is averaged over; None for
            NEIGHBOURHOOD.

    Raises:
        SettingsError: The taps are no blocks of the trunk, or grid or neighbourhood is out of range.
    """

    def __init__(
        self,
        visual: HybridVisual,
        taps: Taps | None = None,
        grid: int | None = None,
        neighbourhood: int | None = None,
    ) -> None:
        super().__init__(visual, nn.ReLU6())
        self.image_size = visual.shape.image_size
        self.set_grid(GRID if grid is None else grid, NEIGHBOURHOOD if neighbourhood is None else neighbourhood)
        self.out_width = visual.shape.out_width
        trunk = visual.trunk
        self.taps = check_taps(visual.shape.taps if taps is None else taps, len(trunk.blocks))
        self.tap_widths = tuple(trunk.widths[tap - 1] for tap in self.taps)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pixels = self.standardise(image.to(self.mean.dtype).flatten(2)).reshape(image.shape).permute(0, 3, 1, 2)
        of_prompts = self.visual.shape.taps
        blocks = tuple(sorted({*of_prompts, *self.taps}))
        maps = dict(zip(blocks, self.visual.trunk(pixels, blocks), strict=True))
        global_, local = self.visual(self.visual.patches(tuple(maps[tap] for tap in of_prompts)))
        memory = (grid_features(maps[tap], self.grid, self.neighbourhood) for tap in self.taps)
        return F.normalize(global_, dim=-1), self.on_grid(local, self.visual.grid), *memory
