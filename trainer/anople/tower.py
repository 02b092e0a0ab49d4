"""The visual tower with deep prompts: a V-V tower whose sequence carries learnable tokens in its first layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from goodparts.runtime.core.errors import BackboneError
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..clip.tower import Tower
from ..clip.vv_tower import VVTower, dual_attention


class PromptedTower:
    """Runs a VVTower's blocks over [CLS], the patches, the prefix and the prompts of the layer.

    Prefix and first prompts enter after the tower's first LayerNorm. The prompts of a layer replace the prompts of the
    previous layer; the prompts of layer J stay to the end (MaPLe). V-V attention reads prefix and prompts too.

    Args:
        tower: The image tower, which has to be a ViT.
        recompute: Whether blocks are run again for the gradient instead of keeping their activations.

    Raises:
        BackboneError: The tower is not a ViT.
    """

    def __init__(self, tower: Tower, recompute: bool = False) -> None:
        if not isinstance(tower, VVTower):
            raise BackboneError(
                "AnoPLe needs a CLIP whose image tower is a ViT, such as --backbone ViT-B-16-plus-240: AnoPLe puts "
                "prompts into the sequences of both towers"
            )
        self.tower = tower
        self._recompute = recompute

    def __call__(self, image: Tensor, prompts: Tensor, prefix: Tensor) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            image: [B, S, S, 3], uint8, RGB.
            prompts: [J, n, W], the visual prompts of the first J layers.
            prefix: [B, p, W], the prefix of each image; p is 0 without one.

        Returns:
            Global [B, D], the local path's patches [B, P, D], and memory [B, P, W] for each tap, all l2-normalised.
        """
        tower = self.tower
        local = tower.embed(image)
        batch, own, _ = local.shape
        tokens = torch.cat([local, prefix], dim=1)
        kept = tokens.shape[1]
        memory: list[Tensor] = []
        for index, block in enumerate(tower.blocks, start=1):
            if index <= len(prompts):
                tokens = torch.cat([tokens[:, :kept], prompts[index - 1].expand(batch, -1, -1)], dim=1)
            run = partial(checkpoint, _run, use_reentrant=False) if self._recompute else _run
            # Only [CLS] is needed after the last block. It is the only query there, unless the block is tapped.
            last = 1 if index == len(tower.blocks) else None
            queries = None if index in tower.taps else last
            leaving = queries if tower.tap_outputs else last
            attended, step, tokens = run(block, tokens, queries, leaving, own)
            local = local + step
            tapped = tokens if tower.tap_outputs else attended
            patches = tower.on_grid(tapped[:, 1:own], tower.token_side, tower.neighbourhood)
            memory += [patches] * tower.taps.count(index)
        return (
            F.normalize(tower.project(tokens[:, 0]), dim=-1),
            tower.on_grid(tower.project(local[:, 1:]), tower.token_side),
            *memory,
        )

    def average(self, image: Tensor, levels: int) -> Tensor:
        """Return the average patch at the entry of each of the first blocks, [levels, W].

        Args:
            image: [B, S, S, 3], uint8, RGB.
            levels: The number of blocks.
        """
        tokens, averages = self.tower.embed(image), []
        for block in self.tower.blocks[:levels]:
            averages.append(tokens[:, 1:].mean(dim=(0, 1)))
            *_, tokens = _run(block, tokens)
        return torch.stack(averages)


def _run(
    block: Any, tokens: Tensor, queries: int | None = None, leaving: int | None = None, own: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a block on tokens [B, N, W].

    Returns:
        The first `queries` tokens after the attention, the V-V residual of the first `own` tokens, and the first
        `leaving` tokens after the MLP. None stands for all tokens.
    """
    step, local = dual_attention(block, tokens, queries, own)
    attended = tokens[:, :queries] + step
    rest = attended[:, :leaving]
    return attended, local, rest + block.ls_2(block.mlp(block.ln_2(rest)))
