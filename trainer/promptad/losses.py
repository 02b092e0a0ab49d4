"""PromptAD's three losses. Image features z are l2-normalised: [k,D] at image level, [k,P,D] at pixel level."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .prompts import TextFeatures


def contrastive(z: Tensor, text: TextFeatures, prototypes: Tensor, temperature: float) -> Tensor:
    """Return eq. 12: the cross-entropy of the normal prototype against every single anomaly prompt."""
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
    """Return eq. 13, the explicit anomaly margin: z is nearer to the normal than to the anomalous prototype.

    The paper has Euclidean distances over the channels. The released code has squared ones, and sums over
    the second axis, which at pixel level is the patches' (docs/promptad.md, D11 and D12). Without a margin
    (None) the loss is 0.
    """
    if margin is None:
        return z.new_zeros(())
    axis_number = -1 if axis == "channels" else 1
    # A norm has a gradient at 0, where a feature is the prototype itself; the root of a square has none.
    normal, anomalous = (torch.linalg.vector_norm(z - prototype, dim=axis_number) for prototype in prototypes)
    if distance == "squared":
        normal, anomalous = normal**2, anomalous**2
    return torch.relu(normal - anomalous + margin).mean()


def alignment(text: TextFeatures) -> Tensor:
    """Return eq. 15 before λ: squared distance of the mean manual and the mean learnable anomaly prompt."""
    if not len(text.manual) or not len(text.learned):
        return text.normal.new_zeros(())
    manual, learned = (F.normalize(part, dim=-1).mean(dim=0) for part in (text.manual, text.learned))
    return ((manual - learned) ** 2).sum()
