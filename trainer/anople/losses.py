"""AnoPLe's losses: Dice and focal loss of the map, contrastive loss of the image, and alignment of image and map.

There are V views of h×w patches; features have D numbers and are l2-normalised.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOCUS = 2.0
"""γ of the focal loss (Lin et al., ICCV 2017)."""


def dice(probability: Tensor, target: Tensor) -> Tensor:
    """Return 1 − Dice of each view's map, averaged over anomalous and good patches and over the views.

    Args:
        probability: [V, h, w], 0 to 1: the probability that a patch is anomalous.
        target: [V, h, w], bool: whether a patch is anomalous.
    """
    losses = []
    for predicted, true in ((probability, target.float()), (1.0 - probability, 1.0 - target.float())):
        shared = (predicted * true).flatten(1).sum(dim=1)
        total = predicted.flatten(1).sum(dim=1) + true.flatten(1).sum(dim=1)
        losses.append(1.0 - (2.0 * shared + 1.0) / (total + 1.0))
    return torch.stack(losses).mean()


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Return the focal loss: the mean of cross-entropy times (1 − p)^γ, where p is the right class's probability.

    Args:
        logits: [V, h, w]: the logits of being anomalous.
        target: [V, h, w], bool: whether a patch is anomalous.
    """
    loss = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    return ((1.0 - torch.exp(-loss)) ** FOCUS * loss).mean()


def contrastive(images: Tensor, text: Tensor, bad: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of image features against the normal and the anomalous text feature.

    Args:
        images: [V, D].
        text: [2, D], or [V, 2, D] with the text of each view's product: normal, anomalous.
        bad: [V], bool: whether a view is anomalous.
        temperature: The multiplier of the cosine.
    """
    return F.binary_cross_entropy_with_logits(logits(images, text, temperature), bad.float())


def logits(features: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Compute the logits of being anomalous; their sigmoid is `scoring.prompt_scores`.

    Args:
        features: [V, …, D].
        text: [2, D], or [V, 2, D] with the text of each view's product: normal, anomalous.
        temperature: The multiplier of the cosine.

    Returns:
        [V, …].
    """
    difference = text[..., 1, :] - text[..., 0, :]
    if difference.ndim == 1:
        return temperature * (features @ difference)
    return temperature * torch.einsum("v...d,vd->v...", features, difference)


def alignment(images: Tensor, patches: Tensor, probability: Tensor, normalise: bool) -> Tensor:
    """Return 1 − ⟨z₀, s⟩ with s = Σ pᵢ·dᵢ over the patches i, averaged over the views; 0 without views.

    It is small where the image feature agrees with the patches that the map calls anomalous.

    Args:
        images: z₀, [V, D].
        patches: d, the decoded patches, [V, h, w, D].
        probability: p, the map, [V, h, w], 0 to 1.
        normalise: Whether s is scaled to length 1; if not, the loss has no lower bound (docs/anople.md, A10).
    """
    if not len(images):
        return patches.sum() * 0.0
    summed = torch.einsum("vhw,vhwd->vd", probability, patches)
    if normalise:
        summed = F.normalize(summed, dim=-1)
    return 1.0 - (images * summed).sum(dim=-1).mean()
