"""PromptAD's three losses. Image features z are l2-normalised: [k, D] at image level, [k, P, D] at pixel level."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .prompts import TextFeatures


def contrastive(z: Tensor, text: TextFeatures, prototypes: Tensor, temperature: float) -> Tensor:
    """Return eq. 12: the cross-entropy of the normal prototype against every single anomaly prompt.

    Args:
        z: [k, D] or [k, P, D], the features of good parts.
        text: The raw text features, whose anomaly prompts are taken.
        prototypes: [2, D], l2-normalised: normal, anomalous.
        temperature: The multiplier t of the cosine.
    """
    candidates = torch.cat([prototypes[:1], F.normalize(text.anomalous, dim=-1)])
    logits = temperature * z.flatten(0, -2) @ candidates.T
    target = torch.zeros(len(logits), dtype=torch.long, device=z.device)
    return F.cross_entropy(logits, target)


def margin(
    z: Tensor,
    prototypes: Tensor,
    margin: float | None,
    distance: Literal["euclidean", "squared"],
    axis: Literal["channels", "second"],
) -> Tensor:
    """Return eq. 13, the explicit anomaly margin: the hinge of d(z, normal) − d(z, anomalous) + margin, averaged.

    The paper takes Euclidean distances over the channels. The released code takes squared distances and sums over the
    second axis, which counts the patches at pixel level (docs/promptad.md, D11 and D12).

    Args:
        z: [k, D] or [k, P, D], the features of good parts.
        prototypes: [2, D], l2-normalised: normal, anomalous.
        margin: By how much z has to be nearer to the normal prototype; without a margin (None) the loss is 0.
        distance: The distance d.
        axis: The axis that d sums over: the channels, or the second one as in the released code.
    """
    if margin is None:
        return z.new_zeros(())
    axis_number = -1 if axis == "channels" else 1
    # At 0, where a feature equals the prototype, a norm has a gradient, but the root of a sum of squares has none.
    normal, anomalous = (torch.linalg.vector_norm(z - prototype, dim=axis_number) for prototype in prototypes)
    if distance == "squared":
        normal, anomalous = normal**2, anomalous**2
    return torch.relu(normal - anomalous + margin).mean()


def alignment(text: TextFeatures) -> Tensor:
    """Return eq. 15 before λ: the squared distance between the means of manual and of learnable anomaly prompts.

    Each prompt is l2-normalised before the mean. Without prompts of either kind the loss is 0.

    Args:
        text: The raw text features.
    """
    if not len(text.manual) or not len(text.learned):
        return text.normal.new_zeros(())
    manual, learned = (F.normalize(part, dim=-1).mean(dim=0) for part in (text.manual, text.learned))
    return ((manual - learned) ** 2).sum()
