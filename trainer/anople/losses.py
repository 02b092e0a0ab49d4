"""AnoPLe's losses: Dice and focal on the map, contrastive on the image, alignment of the two.

probability: of being anomalous, [V,h,w] for V views; target: bool [V,h,w]. Features are l2-normalised.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOCUS = 2.0
"""γ of the focal loss (Lin et al., ICCV 2017)."""


def dice(probability: Tensor, target: Tensor) -> Tensor:
    """Return 1 − Dice of each view's map, the mean over bad and good patches and over the views."""
    losses = []
    for predicted, true in ((probability, target.float()), (1.0 - probability, 1.0 - target.float())):
        shared = (predicted * true).flatten(1).sum(dim=1)
        total = predicted.flatten(1).sum(dim=1) + true.flatten(1).sum(dim=1)
        losses.append(1.0 - (2.0 * shared + 1.0) / (total + 1.0))
    return torch.stack(losses).mean()


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of logits [V,h,w] of being anomalous, weighted by (1 − p)^γ of the right class."""
    loss = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    return ((1.0 - torch.exp(-loss)) ** FOCUS * loss).mean()


def contrastive(images: Tensor, text: Tensor, bad: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of image features [V,D] against text features [2,D] or [V,2,D], normal and anomalous.

    bad: bool [V], which views are anomalous.
    """
    return F.binary_cross_entropy_with_logits(logits(images, text, temperature), bad.float())


def logits(features: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Return the logits [V,…] of being anomalous of features [V,…,D], given text features [2,D] or [V,2,D].

    Their sigmoid is scoring.prompt_scores.
    """
    difference = text[..., 1, :] - text[..., 0, :]
    if difference.ndim == 1:
        return temperature * (features @ difference)
    return temperature * torch.einsum("v...d,vd->v...", features, difference)


def alignment(images: Tensor, patches: Tensor, probability: Tensor, normalise: bool) -> Tensor:
    """Return 1 − ⟨z₀, s⟩ with s = Σ M̂·D, the mean over the views.

    It is small where the image feature [V,D] agrees with the patches [V,h,w,D] that are held anomalous. normalise
    brings s to length 1; without it the loss has no lower bound (docs/anople.md, A10).
    """
    if not len(images):
        return patches.sum() * 0.0
    summed = torch.einsum("vhw,vhwd->vd", probability, patches)
    if normalise:
        summed = F.normalize(summed, dim=-1)
    return 1.0 - (images * summed).sum(dim=-1).mean()
