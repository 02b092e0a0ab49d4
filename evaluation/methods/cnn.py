"""Patch statistics on the ImageNet CNN that they were published on: a Wide ResNet-50-2, through timm.

Its weights are read from the Hugging Face cache (`hf download timm/wide_resnet50_2.tv_in1k`); nothing is downloaded.
Without them the weights are random, and the rows state it: such numbers compare nothing but the cost.

Photos have the encoder's size, and are standardised by ImageNet's mean and standard deviation. All stages lie on the
grid of the second one. The papers of SPADE and PaDiM use the grid of the first one, which is four times as fine.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import torch
import torch.nn.functional as F
from goodparts.runtime.core.files import sha256
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features, Floats
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.weights import randomise
from safetensors.torch import load_file
from torch import Tensor

from .clip_encoders import TORCH_ONLY, to_numpy
from .method import FittedMethod, Method, OwnEncoder, TrainingData
from .patch_statistics import Fit

NAME = "wide_resnet50_2"
REPOSITORY = f"timm/{NAME}.tv_in1k"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def cnn_statistics(title: str, fit: Fit, stages: slice) -> Method:
    """Return the row of patch statistics on these stages of the CNN."""

    def fit_stages(data: TrainingData) -> FittedMethod:
        score = fit(_select(data.features, stages))
        return FittedMethod(lambda features: score(_select(features, stages)))

    return Method(title, fit_stages, open_encoder=open_cnn)


def _select(features: Features, stages: slice) -> Features:
    return dataclasses.replace(features, memory=features.memory[stages])


@functools.lru_cache(maxsize=1)
def open_cnn(backbone: Backbone) -> OwnEncoder:
    """Open the CNN on the backbone's device.

    Its global features are the last stage's mean, its memory features stages 1 to 3 on the grid of stage 2, and its
    local features stage 3.
    """
    model: Any = timm.create_model(NAME)
    weights = huggingface_hub.try_to_load_from_cache(REPOSITORY, "model.safetensors")
    name, digest = TORCH_ONLY, "random, seed 0"
    if isinstance(weights, str):
        model.load_state_dict(load_file(weights))
        digest = sha256(Path(weights))
    else:
        randomise(model, seed=0)
        name = f"{TORCH_ONLY}, random weights"
    model = model.eval().to(backbone.device)

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            pixels = torch.tensor(views, device=backbone.device) / 255.0
            pixels = (pixels - pixels.new_tensor(MEAN)) / pixels.new_tensor(STD)
            stages = model.forward_intermediates(
                pixels.permute(0, 3, 1, 2), indices=[1, 2, 3, 4], intermediates_only=True
            )
            rows, columns = stages[1].shape[2:]
            grid = int(rows), int(columns)
            memory = tuple(_patches(stage, grid) for stage in stages[:3])
            return Features(to_numpy(stages[3].mean(dim=(2, 3))), memory[2], memory, grid)

    return OwnEncoder(name, encode, digest)


def _patches(stage: Tensor, grid: tuple[int, int]) -> Floats:
    """Resize a stage [B,W,H',W'] to the grid, by averages or by interpolation, and return its patches [B,P,W]."""
    is_finer = stage.shape[2] > grid[0]
    resized = F.adaptive_avg_pool2d(stage, grid) if is_finer else F.interpolate(stage, grid, mode="bilinear")
    return to_numpy(resized.flatten(2).transpose(1, 2))
