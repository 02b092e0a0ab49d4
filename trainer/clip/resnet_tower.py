"""CLIP's ResNet with V-V attention in its attention pool (PromptAD, Table 8; the attention is CLIP Surgery's).

A CLIP ResNet has one attention, the pool at its end. So the local path is not a sum over blocks, but this one V-V
attention, in the form that CLIP Surgery recommends: queries and keys are a head's l2-normalised values, and the scale
of their products is eight times the usual one.

Scoring fuses prompts and memory cell by cell, so every output has the same grid, by default the finest tap's: 28×28 for
layer2 of a 224-pixel image. The other maps, 14×14 of layer3 and 7×7 of the local features, are resized to it
bilinearly before they are normalised, as PatchCore does with layer3. A coarser grid would be cheaper, but would give up
the resolution that layer2 is tapped for. The price is a memory of 784 rows per photo: with four photos its search takes
7.6 GFLOP, and RN50 itself takes 11.9 GFLOP.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from goodparts.runtime.core.errors import BackboneError
from goodparts.runtime.core.scoring import bilinear_matrix
from open_clip.modified_resnet import AttentionPool2d
from torch import Tensor

from .tower import Taps, Tower, check_taps

DEFAULT_TAPS = (2, 3)
"""The layers that PatchCore takes its memory from. PromptAD's paper does not name the layers of its memory."""

VALUE_SCALE = 8.0
"""The factor by which CLIP Surgery multiplies the usual scale of attention, head width^-1/2."""


class ResNetTower(Tower):
    """Wraps an open_clip ModifiedResNet, which has four layers; its memory is the outputs of the tapped layers.

    Args:
        visual: The ModifiedResNet.
        taps: The layers that the memory is taken from, counted from 1, in rising order; None for DEFAULT_TAPS.
        grid: The side of the grid of patches of every output; None for the finest tap's.
        neighbourhood: The odd side of the square of patches that each patch of the memory is averaged over; None for 1.

    Raises:
        BackboneError: The image tower is no ResNet with CLIP's attention pool.
        SettingsError: The taps are no layers of the tower, or grid or neighbourhood is out of range.
    """

    def __init__(
        self,
        visual: Any,
        taps: Taps | None = None,
        grid: int | None = None,
        neighbourhood: int | None = None,
    ) -> None:
        check_supported(visual)
        super().__init__(visual, visual.act1)
        self.layers = visual.layer1, visual.layer2, visual.layer3, visual.layer4
        self.taps = check_taps(DEFAULT_TAPS if taps is None else taps, len(self.layers))
        self.tap_widths = tuple(int(self.layers[tap - 1][-1].conv3.out_channels) for tap in self.taps)
        self.image_size = int(visual.image_size)
        # The stem quarters the image, and every layer after the first halves it.
        sides = [self.image_size // 2 ** (1 + layer) for layer in range(1, len(self.layers) + 1)]
        side = sides[self.taps[0] - 1] if grid is None else grid
        self.set_grid(side, 1 if neighbourhood is None else neighbourhood)
        place = (np.arange(side) + 0.5) / side
        for other in {*sides[self.taps[0] - 1 :]} - {side}:
            matrix = torch.from_numpy(bilinear_matrix(other, place)).float()
            self.register_buffer(f"from_{other}", matrix, persistent=False)
        self.out_width = int(visual.attnpool.c_proj.out_features)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pixels = self.standardise(image.to(self.mean.dtype).flatten(2)).reshape(image.shape)
        maps = self.visual.stem(pixels.permute(0, 3, 1, 2))
        memory: list[Tensor] = []
        for number, layer in enumerate(self.layers, start=1):
            maps = layer(maps)
            if number in self.taps:
                memory += [self.on_grid(to_cells(maps), maps.shape[2], self.neighbourhood)] * self.taps.count(number)
        summary, local = pool(self.visual.attnpool, to_cells(maps))
        return F.normalize(summary, dim=-1), self.on_grid(local, maps.shape[2]), *memory

    def on_grid(self, cells: Tensor, side: int, neighbourhood: int = 1) -> Tensor:
        batch, _, width = cells.shape
        if side != self.grid[0]:
            matrix = self.get_buffer(f"from_{side}")
            rows = matrix @ cells.reshape(batch, side, -1)
            cells = (matrix @ rows.view(batch, -1, side, width)).flatten(1, 2)
        return super().on_grid(cells, self.grid[0], neighbourhood)


def to_cells(maps: Tensor) -> Tensor:
    """Return maps as cells, [B, h·w, C].

    Args:
        maps: [B, C, h, w].
    """
    return maps.flatten(2).transpose(1, 2)


def pool(attention: Any, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return CLIP's own global feature, [B, D], and local features by V-V attention, [B, p, D].

    Both attentions share the output projection, so their results go through it as one matrix product.

    Args:
        attention: The attention pool.
        cells: [B, p, C], the cells of the last layer.
    """
    batch, _, width = cells.shape
    tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1) + attention.positional_embedding

    def heads(projected: Tensor) -> Tensor:
        return projected.view(batch, -1, attention.num_heads, width // attention.num_heads).transpose(1, 2)

    q, k, v = heads(attention.q_proj(tokens[:, :1])), heads(attention.k_proj(tokens)), heads(attention.v_proj(tokens))
    ordinary = F.scaled_dot_product_attention(q, k, v)
    direction = F.normalize(v, dim=-1)
    scale = VALUE_SCALE * v.shape[-1] ** -0.5
    local = F.scaled_dot_product_attention(direction[:, :, 1:], direction, v, scale=scale)
    both = torch.cat([ordinary, local], dim=2).transpose(1, 2).reshape(batch, -1, width)
    projected = attention.c_proj(both)
    return projected[:, 0], projected[:, 1:]


def check_supported(visual: Any) -> None:
    """Check that an image tower is a ResNet with CLIP's attention pool.

    Args:
        visual: The image tower.

    Raises:
        BackboneError: The image tower is of another kind.
    """
    if not isinstance(getattr(visual, "attnpool", None), AttentionPool2d):
        raise BackboneError(f"image tower {type(visual).__name__} is not supported without CLIP's attention pool")
