"""The image tower of the embedded CLIP: an ImageNet trunk as patch embedding and memory, and thin maps to the prompts.

The trunk's taps are the memory. Laid side by side on the coarser tap's grid, each patch together with what it differs
by from its surround, they reach the joint space on two ways that are added up: one linear map and one hidden layer.
Transformer blocks with the dual path of vv_tower.py can add to them. Measured, they fit painted defects better and real
ones worse, so `small` has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mobilenet import MEAN, STD, MobileNetV2Trunk
from .tower import Tower
from .vv_tower import dual_attention


@dataclass(frozen=True)
class HybridShape:
    """How large a hybrid tower is.

    image_size: side of the square input in pixels. taps: blocks of the trunk, counted from 1, in rising order; the last
    one's grid is the prompts'. surround: odd side of the neighbourhood whose mean is subtracted from each patch; the
    difference is laid beside the patch, so that a linear map sees contrast; 0 for none. hidden: width of the hidden
    layer. width, heads, layers: of the V-V blocks, of which there may be none. out_width: of the joint space.
    """

    image_size: int = 240
    taps: tuple[int, ...] = (6, 13)
    surround: int = 5
    hidden: int = 128
    width: int = 128
    heads: int = 4
    layers: int = 0
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
        scale = shape.width**-0.5
        self.register_buffer("patch_mean", torch.zeros(patch_width))
        self.register_buffer("patch_scale", torch.ones(patch_width))
        self.linear = nn.Linear(patch_width, shape.out_width)
        self.hidden = nn.Linear(patch_width, shape.hidden)
        self.bent = nn.Linear(shape.hidden, shape.out_width, bias=False)
        if shape.layers:
            self.embed = nn.Linear(patch_width, shape.width)
            self.class_embedding = nn.Parameter(scale * torch.randn(shape.width))
            self.positional_embedding = nn.Parameter(scale * torch.randn(self.grid**2 + 1, shape.width))
            self.ln_pre = nn.LayerNorm(shape.width)
            self.transformer = open_clip.transformer.Transformer(shape.width, shape.layers, shape.heads)
            self.ln_post = nn.LayerNorm(shape.width)
            # From zero, so that what the blocks add is learned on top of the linear map.
            self.proj = nn.Parameter(torch.zeros(shape.width, shape.out_width))
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
        """Patches [B,P,patch_width] → global [B,D] and local [B,P,D], not normalised."""
        if not self.shape.layers:
            return self.straight_path(patches)
        first = self.class_embedding.expand(len(patches), 1, -1)
        original = self.ln_pre(torch.cat([first, self.embed(patches)], dim=1) + self.positional_embedding)
        local = original
        for block in self.transformer.resblocks:
            step, local_step = dual_attention(block, original)
            local = local + local_step
            original = original + step
            original = original + block.mlp(block.ln_2(original))
        pooled, local_features = self.straight_path(patches, self.ln_post(local[:, 1:]) @ self.proj)
        return self.ln_post(original[:, 0]) @ self.proj + pooled, local_features

    def straight_path(self, patches: Tensor, blocks: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """Map each patch by itself and add what the blocks say of it [B,P,D]: pooled [B,D] and local [B,P,D].

        The pool's weights come from the patches themselves, so a small defect is not averaged away.
        """
        local = self.linear(patches) + self.bent(F.gelu(self.hidden(patches))) + blocks
        share = self.attend(local).softmax(dim=1)
        return (share * local).sum(dim=1), local


class HybridTower(Tower):
    """Wraps a HybridVisual; its memory taps are the trunk's, each averaged over a neighbourhood, on one grid."""

    def __init__(self, visual: HybridVisual, memory_grid: int, neighbourhood: int = 3) -> None:
        """memory_grid: side that every tap is brought to, bilinear; neighbourhood: odd side of the mean, 1 for none."""
        super().__init__(visual, nn.ReLU6())
        self.image_size = visual.shape.image_size
        self.grid = visual.grid, visual.grid
        self.out_width = visual.shape.out_width
        self.taps, self.tap_widths = visual.shape.taps, visual.tap_widths
        self.memory_grid, self.neighbourhood = (memory_grid, memory_grid), neighbourhood

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pixels = self.standardise(image.to(self.mean.dtype).flatten(2)).reshape(image.shape).permute(0, 3, 1, 2)
        taps = self.visual.trunk(pixels)
        global_, local = self.visual(self.visual.patches(taps))
        memory = (self.remember(maps) for maps in taps)
        return F.normalize(global_, dim=-1), F.normalize(local, dim=-1), *memory

    def remember(self, maps: Tensor) -> Tensor:
        """A tap's maps [B,W,h,w] → l2-normalised memory features [B,P_m,W]."""
        return memory_features(maps, self.memory_grid, self.neighbourhood)


def memory_features(maps: Tensor, grid: tuple[int, int], neighbourhood: int) -> Tensor:
    """Bring maps [B,W,h,w] to a grid, average each place with its neighbours, l2-normalise: [B,P,W]."""
    if tuple(maps.shape[2:]) != grid:
        maps = F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
    if neighbourhood > 1:
        maps = F.avg_pool2d(maps, neighbourhood, 1, neighbourhood // 2, count_include_pad=False)
    return F.normalize(maps.flatten(2).transpose(1, 2), dim=-1)
