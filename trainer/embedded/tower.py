"""The image tower of the embedded CLIP: an ImageNet trunk as patch embedding and memory, and thin maps to the prompts.

The trunk's taps are the memory. Laid side by side on the coarser tap's grid, each patch together with what it differs
by from its surround, they reach the joint space on two ways that are added up: one linear map and one hidden layer.
Transformer blocks with the dual path of vv_tower.py on top of them were measured and left out: they fit painted defects
better and real ones worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clip.tower import Taps, Tower, check_taps, grid_features
from .mobilenet import MEAN, STD, MobileNetV2Trunk

GRID, NEIGHBOURHOOD = 30, 3
"""The tower's own grid, of every output, and the neighbourhood that its memory is averaged over."""


@dataclass(frozen=True)
class HybridShape:
    """How large a hybrid tower is.

    image_size: side of the square input in pixels. taps: blocks of the trunk, counted from 1, in rising order; the last
    one's grid is the prompts'. surround: odd side of the neighbourhood whose mean is subtracted from each patch; the
    difference is laid beside the patch, so that a linear map sees contrast; 0 for none. hidden: width of the hidden
    layer. out_width: of the joint space.
    """

    image_size: int = 240
    taps: tuple[int, ...] = (6, 13)
    surround: int = 5
    hidden: int = 128
    out_width: int = 128


class HybridVisual(nn.Module):
    """The weights of the tower, under the names that the file gives them."""

    patch_mean: Tensor
    patch_scale: Tensor

    def __init__(self, shape: HybridShape) -> None:
        super().__init__()
        self.shape = shape
        self.preprocess_cfg = {"mean": MEAN, "std": STD}
        self.trunk = MobileNetV2Trunk(shape.taps)
        strides = [self.trunk.strides[tap - 1] for tap in shape.taps]
        self.grids = tuple(-(-shape.image_size // stride) for stride in strides)
        """Side of each tap's grid."""
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
        """How much each patch of the local path counts in the global feature, before the softmax over patches."""

    def patches(self, taps: tuple[Tensor, ...]) -> Tensor:
        """Lay the taps' maps [B,W,h,w] side by side on the last one's grid: standardised [B,P,patch_width]."""
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
        """Map each patch [B,P,patch_width] by itself, and pool them: global [B,D] and local [B,P,D], not normalised.

        The pool's weights come from the patches themselves, so a small defect is not averaged away.
        """
        local = self.linear(patches) + self.bent(F.gelu(self.hidden(patches)))
        share = self.attend(local).softmax(dim=1)
        return (share * local).sum(dim=1), local


class HybridTower(Tower):
    """Wraps a HybridVisual; its memory is what the tapped blocks of the trunk put out."""

    def __init__(
        self,
        visual: HybridVisual,
        taps: Taps | None = None,
        grid: int | None = None,
        neighbourhood: int | None = None,
    ) -> None:
        """taps: the memory's, by default those that the prompts read too; grid, neighbourhood: see Tower.set_grid."""
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
