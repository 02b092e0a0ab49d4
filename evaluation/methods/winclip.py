"""WinCLIP and WinCLIP+: prompts and memories of windows, each encoded for itself (Jeong et al., CVPR 2023).

A window of 2×2 or 3×3 patches goes through CLIP's blocks with [CLS] and nothing else, at every place it fits; a
patch's score is the harmonic mean over the windows that it lies in. Prompts are the compositional ensemble at CLIP's
own temperature.
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

from .clip_paths import TORCH_ONLY, to_numpy, vit
from .method import Judge, Lesson, Pass
from .prompts_and_memory import teach_ensemble

SIDES = (2, 3)
"""Of the windows, in patches."""


def windows(grid: tuple[int, int], side: int) -> npt.NDArray[np.intp]:
    """The patches of each window: [number of windows, side²]."""
    numbers = np.arange(grid[0] * grid[1]).reshape(grid)
    return sliding_window_view(numbers, (side, side)).reshape(-1, side * side)


def windowed(backbone: Backbone) -> Pass:
    """As memory: the patches' tokens before the last block (the paper's penultimate features), then each side's windows
    [B,windows,D]; local: those of plain CLIP."""
    tower = vit(backbone)
    *blocks, end = tower.blocks

    def classify(tokens: Tensor) -> Tensor:
        for block in tower.blocks:
            tokens = block(tokens)
        return tower.project(tokens[:, 0])

    def encode_one(tokens: Tensor) -> list[Floats]:
        """tokens [1+P,W] before the first block."""
        found = []
        for side in SIDES:
            inside = tokens[1:][torch.from_numpy(windows(tower.grid, side))]
            first = tokens[:1].expand(len(inside), 1, -1)
            found.append(to_numpy(classify(torch.cat([first, inside], dim=1))))
        return found

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            start = tokens = tower.embed(torch.tensor(views, device=backbone.device))
            for block in blocks:
                tokens = block(tokens)
            whole = tower.project(end(tokens))
            each = [encode_one(one) for one in start]
            memory = (to_numpy(tokens[:, 1:]), *map(np.stack, zip(*each, strict=True)))
            return Features(to_numpy(whole[:, 0]), to_numpy(whole[:, 1:]), memory, tower.grid)

    return Pass(TORCH_ONLY, encode)


def spread(scores: Floats, grid: tuple[int, int], side: int) -> Floats:
    """Windows' scores [B,windows] → patches' [B,P]: the harmonic mean over the windows that a patch lies in (eq. 3)."""
    cover = np.zeros((scores.shape[1], grid[0] * grid[1]))
    np.put_along_axis(cover, windows(grid, side), 1.0, axis=1)
    return np.asarray(cover.sum(axis=0) / (1.0 / np.maximum(scores, SMALLEST_SCORE) @ cover), np.float32)


def learn_winclip(lesson: Lesson, memory: bool) -> Judge:
    """Zero-shot: image scores of the whole photo, patches by the harmonic mean of it and both sides of windows (§4.2).
    With memory (WinCLIP+, §4.3): the mean over patches and both sides of the distance to what good photos have, whose
    largest is averaged with the image score and which is added to the patches'."""
    backbone = lesson.product.backbone()
    prototypes = lesson.product.prompts("ensemble", teach_ensemble).image
    temperature = math.exp(backbone.logit_scale)
    banks = [part.reshape(-1, part.shape[-1]) for part in lesson.features.memory] if memory else []

    def spread_all(scales: list[Floats], grid: tuple[int, int]) -> list[Floats]:
        return [spread(scores, grid, side) for scores, side in zip(scales, SIDES, strict=True)]

    def judge(features: Features) -> tuple[Floats, Floats]:
        image = prompt_scores(features.global_, prototypes, temperature)
        told = [prompt_scores(part, prototypes, temperature) for part in features.memory[1:]]
        terms = [np.broadcast_to(image[:, None], features.local.shape[:2]), *spread_all(told, features.grid)]
        patches = len(terms) / sum(1.0 / np.maximum(term, SMALLEST_SCORE) for term in terms)
        if banks:
            apart = [(1.0 - nearest(part, bank)) / 2.0 for part, bank in zip(features.memory, banks, strict=True)]
            distance = np.mean([apart[0], *spread_all(apart[1:], features.grid)], axis=0)
            image = (image + distance.max(axis=1)) / 2.0
            patches = patches + distance
        return np.asarray(image, np.float32), np.asarray(patches, np.float32).reshape(-1, *features.grid)

    return Judge(judge)
