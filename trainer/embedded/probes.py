"""The start of the embedded CLIP's training: probes that tell damaged from flawless patches of the trunk."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .features import Cache
from .losses import CLEAN, DAMAGED
from .tower import HybridVisual

GOOD_PATCHES = 12
"""The number of flawless patches that are taken per picture, on average."""
LINEAR_DECAY = 1e-3
"""The linear probe's penalty on the squares of its weights."""
ROUNDS, ROWS, LR, DROPOUT, BENT_DECAY = 8, 1024, 1e-3, 0.2, 0.3
"""The epochs, batch size, learning rate, dropout and weight decay of the bent probe, the probe with a hidden layer."""


def sample_patches(
    visual: HybridVisual, cache: Cache, products: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return patches, [N, patch_width], and whether they are damaged, [N], float32, 0 or 1.

    The sample holds all damaged patches, and GOOD_PATCHES flawless patches per picture, drawn at random.

    Args:
        visual: The image tower, whose patches are taken.
        cache: The trunk's features.
        products: How many of the cache's first products to take.
        rng: The source of randomness.
    """
    patches, damaged = [], []
    for start in range(0, products, 25):
        batch = slice(start, start + 25)
        taps = (torch.from_numpy(maps[batch]).flatten(0, 2).permute(0, 3, 1, 2).float() for maps in cache.taps)
        patches_of_both = visual.patches(tuple(taps))
        both = patches_of_both.view(-1, 2, *patches_of_both.shape[1:])
        shares = torch.from_numpy(cache.coverage[batch]).flatten(0, 1).float() / 255
        shares = F.adaptive_avg_pool2d(shares, visual.grid).flatten(1)
        flawless = torch.cat([both[:, 0].flatten(0, 1), both[:, 1][shares < CLEAN]])
        few = torch.from_numpy(rng.integers(len(flawless), size=GOOD_PATCHES * 2 * len(both)))
        patches += [both[:, 1][shares > DAMAGED], flawless[few]]
        damaged += [torch.ones(len(patches[-2])), torch.zeros(len(few))]
    return torch.cat(patches), torch.cat(damaged)


def balanced_loss(log_odds: Tensor, damaged: Tensor, share: Tensor) -> Tensor:
    """Return the logistic loss of patches, where the damaged patches have the same total weight as the other patches.

    Args:
        log_odds: [N]: the log-odds that a patch is damaged.
        damaged: [N], float32: 1 for a damaged patch, else 0.
        share: The share of damaged patches, a tensor of one number.
    """
    weight = torch.where(damaged > 0, 0.5 / share, 0.5 / (1 - share))
    return F.binary_cross_entropy_with_logits(log_odds, damaged, weight=weight)


def fit_linear_probe(patches: Tensor, damaged: Tensor) -> nn.Linear:
    """Fit the log-odds that a patch is damaged as a linear function of it.

    Args:
        patches: [N, patch_width].
        damaged: [N], float32: 1 for a damaged patch, else 0.

    Returns:
        The linear map, frozen.
    """
    probe = nn.Linear(patches.shape[1], 1)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = balanced_loss(probe(patches)[:, 0], damaged, damaged.mean())
        loss = loss + LINEAR_DECAY * probe.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return probe.requires_grad_(False)


def fit_bent_probe(patches: Tensor, damaged: Tensor, width: int) -> tuple[nn.Linear, nn.Linear]:
    """Fit the log-odds that a patch is damaged with a hidden layer between two linear maps.

    Args:
        patches: [N, patch_width].
        damaged: [N], float32: 1 for a damaged patch, else 0.
        width: The width of the hidden layer.

    Returns:
        The two linear maps, frozen.
    """
    hidden, out = nn.Linear(patches.shape[1], width), nn.Linear(width, 1)
    optimiser = torch.optim.AdamW([*hidden.parameters(), *out.parameters()], LR, weight_decay=BENT_DECAY)
    steps = ROUNDS * -(-len(patches) // ROWS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(ROUNDS):
        order = torch.randperm(len(patches))
        for start in range(0, len(patches), ROWS):
            rows = order[start : start + ROWS]
            inner = F.dropout(F.gelu(hidden(F.dropout(patches[rows], DROPOUT))), DROPOUT)
            loss = balanced_loss(out(inner)[:, 0], damaged[rows], damaged.mean())
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return hidden.requires_grad_(False), out.requires_grad_(False)
