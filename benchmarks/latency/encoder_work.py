"""Counts the operations of an encoder. This needs torch for the model."""

from __future__ import annotations

import torch
from goodparts.trainer.clip.tower import Tower
from goodparts.trainer.clip.vv_tower import VVTower
from torch.utils.flop_counter import FlopCounterMode


def encoder_flops(tower: Tower, full: bool = False) -> int:
    """Count the floating-point operations per view in matrix products, convolutions and attentions.

    A multiply-add counts as 2. In the last block of a ViT, the tower's ordinary attention and its MLP work only on
    [CLS].

    Args:
        tower: The image tower.
        full: Whether to count every block as if it computed both attentions and the MLP for all tokens; otherwise the
            tower's own operations are counted. For a ResNet both counts are equal.

    Returns:
        The number of operations.
    """
    if not isinstance(tower, VVTower):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            tower(torch.zeros(1, tower.image_size, tower.image_size, 3, dtype=torch.uint8))
        return int(counter.get_total_flops())
    width = tower.width
    patches = tower.token_side**2
    tokens = patches + 1
    total = 2 * patches * int(tower.visual.conv1.weight.numel()) + 2 * tokens * width * tower.out_width
    for number, block in enumerate(tower.blocks, start=1):
        last = number == len(tower.blocks) and not full
        queries = 1 if last and number not in tower.taps else tokens  # of the ordinary attention
        through_mlp = 1 if last else tokens
        mlp = sum(int(parameter.numel()) for parameter in block.mlp.parameters() if parameter.dim() == 2)
        total += 2 * tokens * width * 3 * width  # queries, keys and values
        total += 4 * (queries + tokens) * tokens * width  # both attentions
        total += 2 * (queries + tokens) * width * width  # their output projection
        total += 2 * through_mlp * mlp
    return total


def largest_product(tower: Tower) -> tuple[int, int, int] | None:
    """Return rows, columns and depth of a ViT's largest product, the first one of an MLP; None for a ResNet.

    Args:
        tower: The image tower.
    """
    if not isinstance(tower, VVTower):
        return None
    width: int = tower.blocks[0].mlp.c_fc.in_features
    hidden: int = tower.blocks[0].mlp.c_fc.out_features
    return tower.token_side**2 + 1, hidden, width
