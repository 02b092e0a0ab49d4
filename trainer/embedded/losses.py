"""What the embedded CLIP's training asks for: captions that match, states told apart, patches told apart."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DAMAGED, CLEAN = 0.12, 0.005
"""Share of a patch under the mask from which it counts as damaged, and up to which as flawless."""


def matching_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return a contrastive loss for captions that may be true of several pictures, several of one picture.

    Args:
        logits: [pictures, captions].
        truth: bool [pictures, captions].
    """

    def one_way(scores: Tensor, positive: Tensor) -> Tensor:
        hits = torch.logsumexp(scores.masked_fill(~positive, -math.inf), dim=1)
        return (torch.logsumexp(scores, dim=1) - hits)[positive.any(dim=1)].mean()

    return (one_way(logits, truth) + one_way(logits.T, truth.T)) / 2


def state_loss(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Ask which of two captions about a picture's state is right.

    Args:
        logits: [pictures, captions].
        right, wrong: int [pictures], the captions' numbers.
    """
    return F.softplus(logits.gather(1, wrong[:, None]) - logits.gather(1, right[:, None])).mean()


def patch_loss(margin: Tensor, coverage: Tensor) -> Tensor:
    """Tell damaged patches from flawless ones; both weigh the same, and those in between do not count.

    Args:
        margin: [...], by how much more damaged than flawless each patch looks.
        coverage: [...], its share under the mask, 0…1.
    """
    bad, good = coverage > DAMAGED, coverage < CLEAN
    return (F.softplus(-margin[bad]).mean() + F.softplus(margin[good]).mean()) / 2


def pair_loss(values: Tensor) -> Tensor:
    """Ask that every damaged picture of a product scores above every good one: values [B,n,2], without and with."""
    good, bad = values.unbind(2)
    return F.softplus(good[:, None] - bad[:, :, None]).mean()


class Flaw(nn.Module):
    """One direction of the joint space along which good and bad pictures, captions and patches are told to part.

    Without it the text tower has nothing to agree with the pictures about for the first third of the training.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(0.05 * torch.randn(width))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Return the components of vectors [...,D] along it: [...]."""
        along: Tensor = features @ F.normalize(self.direction, dim=0)
        return along
