"""PromptAD's prompts on linearly mapped patches of CLIP, in the few-shot setting of PromptAD's tables."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from goodparts.runtime.core.scoring import Features, Floats, prompt_scores
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import Losses, PromptLearner
from goodparts.trainer.promptad.settings import CLEAN_TEMPERATURE, PROTOCOLS
from goodparts.trainer.promptad.suffixes import GENERIC
from torch import Tensor

from .clip_encoders import require_vit
from .method import FittedMethod, TrainingData

CLEAN = PROTOCOLS["clean"]


class LinearLearner(PromptLearner):
    """Learns PromptAD's prompts and, for each block, a linear layer from its patches to the joint space.

    APRIL-GAN (Chen et al., 2023) has such layers after every quarter of the blocks, and learns them from bad parts too.
    PromptAD's tables have a layer after each block. Here the layers start as CLIP's own projection, and are learned
    with the prompts' losses.

    Args:
        backbone: The backbone, a ViT.
        features: The features of the k photos; the memory features are the blocks' patches [k,P,W].
        product: The product in words.
        seed: The seed of the prompts.
    """

    def __init__(self, backbone: Backbone, features: Features, product: str, seed: int) -> None:
        super().__init__(backbone, features, product, GENERIC, CLEAN, seed)
        start = require_vit(backbone).visual.proj.detach()
        self.layers = [start.clone().requires_grad_() for _ in features.memory]
        self._taps = [torch.from_numpy(part).to(backbone.device) for part in features.memory]
        self._layer_optimiser = torch.optim.SGD(
            self.layers, lr=CLEAN.lr, momentum=CLEAN.momentum, weight_decay=CLEAN.weight_decay
        )

    def targets(self) -> tuple[Tensor, ...]:
        """Return the image's feature, and all blocks' patches, mapped by the current layers and concatenated."""
        mapped = [F.normalize(tap @ layer, dim=-1) for tap, layer in zip(self._taps, self.layers, strict=True)]
        return super().targets()[0], torch.cat(mapped, dim=1)

    def step(self) -> list[Losses]:
        self._layer_optimiser.zero_grad()
        losses = super().step()
        self._layer_optimiser.step()
        return losses


def fit_linear(data: TrainingData) -> FittedMethod:
    """Fit prompts and layers; only prompts are scored, and a patch's score is the mean over the blocks.

    Args:
        data: The photos to learn from.

    Returns:
        The fitted method, without a threshold.
    """
    task = data.task
    learner = LinearLearner(task.backbone(), data.features, task.text, task.seed)
    prototypes = learner.learn()
    layers: list[Floats] = [layer.detach().cpu().numpy() for layer in learner.layers]

    def score_views(features: Features) -> tuple[Floats, Floats]:
        scores = []
        for part, layer in zip(features.memory, layers, strict=True):
            mapped = part @ layer
            mapped /= np.linalg.norm(mapped, axis=-1, keepdims=True)
            scores.append(prompt_scores(mapped, prototypes.pixel, CLEAN_TEMPERATURE))
        grid = np.mean(scores, axis=0).reshape(-1, *features.grid)
        return prompt_scores(features.global_, prototypes.image, CLEAN_TEMPERATURE), np.asarray(grid, np.float32)

    return FittedMethod(score_views)
