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
    """1 − Dice of each view's map, of bad and of good patches alike, mean over both and over the views."""
    found = []
    for part, wanted in ((probability, target.float()), (1.0 - probability, 1.0 - target.float())):
        shared = (part * wanted).flatten(1).sum(dim=1)
        total = part.flatten(1).sum(dim=1) + wanted.flatten(1).sum(dim=1)
        found.append(1.0 - (2.0 * shared + 1.0) / (total + 1.0))
    return torch.stack(found).mean()


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy weighted by (1 − p)^γ of the right class; logits [V,h,w] of being anomalous."""
    loss = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    return ((1.0 - torch.exp(-loss)) ** FOCUS * loss).mean()


def contrastive(images: Tensor, text: Tensor, bad: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of image features [V,D] against both text features, [2,D] or [V,2,D]: normal, anomalous; bad: bool
    [V]."""
    return F.binary_cross_entropy_with_logits(logits(images, text, temperature), bad.float())


def logits(features: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Of being anomalous (their sigmoid is scoring.prompt_scores): features [V,…,D], text [2,D] or [V,2,D] → [V,…]."""
    difference = text[..., 1, :] - text[..., 0, :]
    if difference.ndim == 1:
        return temperature * (features @ difference)
    return temperature * torch.einsum("v...d,vd->v...", features, difference)


def alignment(images: Tensor, patches: Tensor, probability: Tensor, normalise: bool) -> Tensor:
    """1 − ⟨z₀, s⟩, s = Σ M̂·D, mean over the views: the image feature [V,D] and the patches [V,h,w,D] that are held
    anomalous agree. normalise: bring s to length 1, without which the loss has no lower bound (A10)."""
    if not len(images):
        return patches.sum() * 0.0
    summed = torch.einsum("vhw,vhwd->vd", probability, patches)
    if normalise:
        summed = F.normalize(summed, dim=-1)
    return 1.0 - (images * summed).sum(dim=-1).mean()
