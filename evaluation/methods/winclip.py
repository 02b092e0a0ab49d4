"""WinCLIP and WinCLIP+: prompts and memories of windows that are encoded separately (Jeong et al., CVPR 2023).

A window of 2×2 or 3×3 patches goes through CLIP's blocks with the [CLS] token and without the other patches, at every
place where it fits. A patch's score is the harmonic mean over the windows that cover it. Prompts are the compositional
ensemble at CLIP's own temperature.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import SMALLEST_SCORE, Features, Floats, nearest, prompt_scores
from goodparts.trainer.clip.backbone import Backbone
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from .clip_encoders import TORCH_ONLY, require_vit, to_numpy
from .method import FittedMethod, OwnEncoder, TrainingData
from .prompts_and_memory import learn_ensemble

SIDES = (2, 3)
"""Sides of the windows, in patches."""


def windows(grid: tuple[int, int], side: int) -> npt.NDArray[np.intp]:
    """Return the indices of each window's patches, [number of windows, side²].

    Args:
        grid: The grid's numbers of rows and columns.
        side: The side of a window in patches.
    """
    indices = np.arange(grid[0] * grid[1]).reshape(grid)
    return sliding_window_view(indices, (side, side)).reshape(-1, side * side)


def window_encoder(backbone: Backbone) -> OwnEncoder:
    """Open the encoder of windows.

    Its memory features are the patches' tokens before the last block (the paper's penultimate features), then the
    windows of each side [B,windows,D]. Its local features are plain CLIP's.

    Args:
        backbone: The backbone, a ViT.

    Returns:
        The encoder.

    Raises:
        SettingsError: The backbone is no ViT.
    """
    tower = require_vit(backbone)
    *blocks, last = tower.blocks
    grid = tower.token_side, tower.token_side

    def classify(tokens: Tensor) -> Tensor:
        for block in tower.blocks:
            tokens = block(tokens)
        return tower.project(tokens[:, 0])

    def encode_windows(tokens: Tensor) -> list[Floats]:
        """Return each side's windows [windows,D] of a photo's tokens [1+P,W] before the first block."""
        of_sides = []
        for side in SIDES:
            inside = tokens[1:][torch.from_numpy(windows(grid, side))]
            cls_tokens = tokens[:1].expand(len(inside), 1, -1)
            of_sides.append(to_numpy(classify(torch.cat([cls_tokens, inside], dim=1))))
        return of_sides

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            embedded = tokens = tower.embed(torch.tensor(views, device=backbone.device))
            for block in blocks:
                tokens = block(tokens)
            projected = tower.project(last(tokens))
            of_photos = [encode_windows(photo_tokens) for photo_tokens in embedded]
            memory = (to_numpy(tokens[:, 1:]), *map(np.stack, zip(*of_photos, strict=True)))
            return Features(to_numpy(projected[:, 0]), to_numpy(projected[:, 1:]), memory, grid)

    return OwnEncoder(TORCH_ONLY, encode)


def window_to_patch_scores(scores: Floats, grid: tuple[int, int], side: int) -> Floats:
    """Return patch scores [B,P]: harmonic means over the windows that cover a patch (eq. 3).

    Args:
        scores: The windows' scores [B,windows].
        grid: The grid's numbers of rows and columns.
        side: The side of a window in patches.
    """
    cover = np.zeros((scores.shape[1], grid[0] * grid[1]))
    np.put_along_axis(cover, windows(grid, side), 1.0, axis=1)
    return np.asarray(cover.sum(axis=0) / (1.0 / np.maximum(scores, SMALLEST_SCORE) @ cover), np.float32)


def fit_winclip(data: TrainingData, memory: bool) -> FittedMethod:
    """Fit WinCLIP or WinCLIP+.

    WinCLIP's image score is the prompt score of the whole photo. Its patch scores are the harmonic mean of this score
    and of the prompt scores of the windows of both sizes (§4.2). WinCLIP+ also takes the mean distance of a patch and
    of its windows from the patches and windows of good photos (§4.3). The largest of these means is averaged with the
    image score. Each patch's mean is added to its score.

    Args:
        data: The product and the photos.
        memory: Whether to fit WinCLIP+.

    Returns:
        The fitted method, without a threshold.
    """
    backbone = data.task.backbone()
    prototypes = data.task.prompts("ensemble", learn_ensemble).image
    temperature = math.exp(backbone.logit_scale)
    banks = [part.reshape(-1, part.shape[-1]) for part in data.features.memory] if memory else []

    def of_patches(of_sides: list[Floats], grid: tuple[int, int]) -> list[Floats]:
        return [window_to_patch_scores(scores, grid, side) for scores, side in zip(of_sides, SIDES, strict=True)]

    def score_views(features: Features) -> tuple[Floats, Floats]:
        image = prompt_scores(features.global_, prototypes, temperature)
        window_scores = [prompt_scores(part, prototypes, temperature) for part in features.memory[1:]]
        terms = [np.broadcast_to(image[:, None], features.local.shape[:2]), *of_patches(window_scores, features.grid)]
        patches = len(terms) / sum(1.0 / np.maximum(term, SMALLEST_SCORE) for term in terms)
        if banks:
            of_patch, *of_windows = (
                (1.0 - nearest(part, bank)[0]) / 2.0 for part, bank in zip(features.memory, banks, strict=True)
            )
            distance = np.mean([of_patch, *of_patches(of_windows, features.grid)], axis=0)
            image = (image + distance.max(axis=1)) / 2.0
            patches = patches + distance
        return np.asarray(image, np.float32), np.asarray(patches, np.float32).reshape(-1, *features.grid)

    return FittedMethod(score_views)
