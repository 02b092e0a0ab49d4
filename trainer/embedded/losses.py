"""The losses of the embedded CLIP's training: captions match pictures, and states and patches are told apart."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DAMAGED, CLEAN = 0.12, 0.005
"""Shares of a patch under the mask: above the first, a patch counts as damaged; below the second, as flawless."""


def matching_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return a contrastive loss, where a picture may match several captions, and a caption several pictures.

    Args:
        logits: [pictures, captions].
        truth: [pictures, captions], bool: whether a caption is true of a picture.
    """

    def one_way(scores: Tensor, positive: Tensor) -> Tensor:
        hits = torch.logsumexp(scores.masked_fill(~positive, -math.inf), dim=1)
        return (torch.logsumexp(scores, dim=1) - hits)[positive.any(dim=1)].mean()

    return (one_way(logits, truth) + one_way(logits.T, truth.T)) / 2


def state_loss(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Return a loss that asks each picture to agree more with the right caption of its state than with the wrong one.

    Args:
        logits: [pictures, captions].
        right: [pictures], int64: the number of the right caption.
        wrong: [pictures], int64: the number of the wrong caption.
    """
    return F.softplus(logits.gather(1, wrong[:, None]) - logits.gather(1, right[:, None])).mean()


def patch_loss(margin: Tensor, coverage: Tensor) -> Tensor:
    """Return the logistic loss of patches; damaged and flawless patches weigh the same in total, others do not count.

    Args:
        margin: […]: by how much a patch looks more damaged than flawless.
        coverage: […], 0 to 1: the share of the patch under the mask.
    """
    bad, good = coverage > DAMAGED, coverage < CLEAN
    return (F.softplus(-margin[bad]).mean() + F.softplus(margin[good]).mean()) / 2


def pair_loss(values: Tensor) -> Tensor:
    """Return a loss that asks every damaged piece of a product to score above every good one.

    Args:
        values: [B, n, 2]: the scores of n pieces of B products, without and with a defect.
    """
    good, bad = values.unbind(2)
    return F.softplus(good[:, None] - bad[:, :, None]).mean()


class Flaw(nn.Module):
    """A direction of the joint space that separates good from bad pictures, captions and patches.

    Without it the features of texts and pictures do not align in the first third of the training.

    Args:
        width: D, the width of the joint space.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(0.05 * torch.randn(width))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Return the components of features along the direction, […].

        Args:
            features: […, D].
        """
        along: Tensor = features @ F.normalize(self.direction, dim=0)
        return along
