"""The decoder: what makes of patches the features that are compared with the text, in 1×1 and depth-wise operations.

For ViT-B-16-plus-240, 0.36 GFLOP a view; convolutions over all channels, as it first had, would take 26.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = 256
"""Channels inside."""
MIXERS = 2
"""Depth-wise layers: each lets a patch see its eight neighbours."""


class Decoder(nn.Module):
    """D = normalise(local + expand(mix(reduce(memory, local)))).

    `expand` starts at zero, so learning begins with CLIP's own patches; a decoder that does not learn stays there.
    """

    def __init__(self, width: int, taps: tuple[int, ...], grid: tuple[int, int], generator: torch.Generator) -> None:
        """width: of the joint space, D; taps: W of each memory tap; grid: (h, w) of the patches."""
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
        """Decode local [B,P,D] and memory [B,P,W], all l2-normalised, as l2-normalised [B,P,D]."""
        mixed = torch.cat([part * part.shape[-1] ** 0.5 for part in (*memory, local)], dim=-1)
        mixed = F.gelu(mixed @ self.reduce + self.reduce_bias)
        grids = mixed.reshape(-1, *self.grid, HIDDEN)
        for weight, bias in zip(self.mix, self.mix_bias, strict=True):
            grids = grids + F.gelu(self.depthwise(grids, weight, bias))
        return F.normalize(local + grids.flatten(1, 2) @ self.expand + self.expand_bias, dim=-1)

    @staticmethod
    def depthwise(grids: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve grids [B,h,w,C] by channel with weight [3,3,C] → [B,h,w,C]."""
        kernels = weight.permute(2, 0, 1)[:, None]
        return F.conv2d(grids.permute(0, 3, 1, 2), kernels, bias, padding=1, groups=len(bias)).permute(0, 2, 3, 1)

    def flops(self) -> int:
        """Count the multiplications and additions for one view."""
        weights = self.reduce.numel() + self.mix.numel() + self.expand.numel()
        return 2 * weights * self.grid[0] * self.grid[1]
