"""The decoder, which turns patches into the features that are compared with the text (docs/anople.md, A9).

It has only 1×1 and depth-wise convolutions. For ViT-B-16-plus-240 it takes 0.36 GFLOP per view; 3×3 convolutions over
all channels would take 26 GFLOP.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = 256
"""Channels of the hidden layers."""
MIXERS = 2
"""Depth-wise layers; each mixes a patch with its eight neighbours."""


class Decoder(nn.Module):
    """The decoder: normalise(local + expand(mix(reduce(memory, local)))).

    `expand` starts at zero, so an untrained decoder returns CLIP's own patches, and learning begins with them.

    Args:
        width: D, the width of the joint space.
        taps: W of each memory tap.
        grid: (h, w), the rows and columns of patches; P = h·w.
        generator: The source of the initial weights.
    """

    def __init__(self, width: int, taps: tuple[int, ...], grid: tuple[int, int], generator: torch.Generator) -> None:
        super().__init__()
        self.grid = grid
        inputs = sum(taps) + width
        self.reduce = nn.Parameter(torch.randn(inputs, HIDDEN, generator=generator) / inputs**0.5)
        self.reduce_bias = nn.Parameter(torch.zeros(HIDDEN))
        self.mix = nn.Parameter(torch.randn(MIXERS, 3, 3, HIDDEN, generator=generator) / 3)
        self.mix_bias = nn.Parameter(torch.zeros(MIXERS, HIDDEN))
        self.expand = nn.Parameter(torch.zeros(HIDDEN, width))
        self.expand_bias = nn.Parameter(torch.zeros(width))

    def forward(self, local: Tensor, *memory: Tensor) -> Tensor:
        """Decode patches.

        Args:
            local: [B, P, D], the local path's patches, l2-normalised.
            *memory: [B, P, W] for each tap, l2-normalised.

        Returns:
            [B, P, D], l2-normalised.
        """
        mixed = torch.cat([part * part.shape[-1] ** 0.5 for part in (*memory, local)], dim=-1)
        mixed = F.gelu(mixed @ self.reduce + self.reduce_bias)
        grids = mixed.reshape(-1, *self.grid, HIDDEN)
        for weight, bias in zip(self.mix, self.mix_bias, strict=True):
            grids = grids + F.gelu(self.depthwise(grids, weight, bias))
        return F.normalize(local + grids.flatten(1, 2) @ self.expand + self.expand_bias, dim=-1)

    @staticmethod
    def depthwise(grids: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve each channel with a 3×3 kernel of its own, with zeros around the grid.

        Args:
            grids: [B, h, w, C].
            weight: [3, 3, C].
            bias: [C].

        Returns:
            [B, h, w, C].
        """
        kernels = weight.permute(2, 0, 1)[:, None]
        return F.conv2d(grids.permute(0, 3, 1, 2), kernels, bias, padding=1, groups=len(bias)).permute(0, 2, 3, 1)

    def flops(self) -> int:
        """Return the number of multiplications and additions for one view."""
        weights = self.reduce.numel() + self.mix.numel() + self.expand.numel()
        return 2 * weights * self.grid[0] * self.grid[1]
