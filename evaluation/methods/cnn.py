"""Patch statistics on an ImageNet CNN: the Wide ResNet-50-2 that they were published on, or else a MobileNetV2.

The Wide ResNet's weights are read from the Hugging Face cache (`hf download timm/wide_resnet50_2.tv_in1k`); nothing is
downloaded. Without them the rows run on the first blocks of torchvision's MobileNetV2, which the package contains as
the trunk of the backbone `small`. The report names the network that ran.

Photos have the encoder's size, and are standardised by ImageNet's mean and standard deviation. All stages are resized
to the second stage's grid. The papers of SPADE and PaDiM use the first stage's grid, which has four times as many
patches.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
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
from goodparts.trainer.embedded import model as small
from goodparts.trainer.embedded.mobilenet import MEAN, STD
from safetensors.torch import load_file
from torch import Tensor

from .clip_encoders import TORCH_ONLY, to_numpy
from .method import FittedMethod, Method, OwnEncoder, TrainingData
from .patch_statistics import Fit

WIDE_RESNET = "wide_resnet50_2"
"""The network's name in timm."""
REPOSITORY = f"timm/{WIDE_RESNET}.tv_in1k"
"""The repository of its weights."""
MOBILENET_STAGES = (3, 6, 13)
"""The blocks of MobileNetV2 that end a stage at a stride of 4, 8 and 16 pixels."""

Stages = Callable[[Tensor], Sequence[Tensor]]
"""Takes standardised pixels [B,3,S,S], and returns maps [B,W,h,w] of the stages at strides 4, 8 and 16 and of the last
stage."""


def cnn_statistics(title: str, fit: Fit, stages: slice) -> Method:
    """Return the row of a method of patch statistics on some stages of the CNN.

    Args:
        title: The row's title for readers.
        fit: Fits the method to the photos' features.
        stages: Which of the stages 1 to 3 make a patch, as a slice: slice(1, 3) is stages 2 and 3.
    """

    def fit_stages(data: TrainingData) -> FittedMethod:
        score = fit(_select(data.features, stages))
        return FittedMethod(lambda features: score(_select(features, stages)))

    return Method(title, fit_stages, open_encoder=open_cnn)


def _select(features: Features, stages: slice) -> Features:
    return dataclasses.replace(features, memory=features.memory[stages])


@functools.lru_cache(maxsize=1)
def open_cnn(backbone: Backbone) -> OwnEncoder:
    """Open the CNN on the backbone's device.

    Its global features are the last stage's mean, its memory features are stages 1 to 3 on the grid of stage 2, and its
    local features are stage 3.

    Args:
        backbone: The backbone, whose device is used.

    Returns:
        The encoder.
    """
    weights = huggingface_hub.try_to_load_from_cache(REPOSITORY, "model.safetensors")
    if isinstance(weights, str):
        name, path = "Wide ResNet-50-2", Path(weights)
        run = open_wide_resnet(path, backbone.device)
    else:
        name, path = "MobileNetV2, blocks 1 to 13", small.WEIGHTS
        run = open_mobilenet(backbone.device)

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            pixels = torch.tensor(views, device=backbone.device) / 255.0
            pixels = (pixels - pixels.new_tensor(MEAN)) / pixels.new_tensor(STD)
            *stages, last = run(pixels.permute(0, 3, 1, 2))
            rows, columns = stages[1].shape[2:]
            grid = int(rows), int(columns)
            memory = tuple(_patches(stage, grid) for stage in stages)
            return Features(to_numpy(last.mean(dim=(2, 3))), memory[2], memory, grid)

    return OwnEncoder(f"{TORCH_ONLY}, {name}", encode, sha256(path))


def open_wide_resnet(weights: Path, device: torch.device) -> Stages:
    """Open the Wide ResNet-50-2 with timm's weights.

    Args:
        weights: The file of the weights (.safetensors).
        device: The device to run on.

    Returns:
        The function that computes the stages.
    """
    model: Any = timm.create_model(WIDE_RESNET)
    model.load_state_dict(load_file(weights))
    model = model.eval().to(device)

    def run(pixels: Tensor) -> Sequence[Tensor]:
        stages: list[Tensor] = model.forward_intermediates(pixels, indices=[1, 2, 3, 4], intermediates_only=True)
        return stages

    return run


def open_mobilenet(device: torch.device) -> Stages:
    """Open the trunk of `small`: torchvision's MobileNetV2 up to block 13. Stage 3 also serves as the last stage.

    Args:
        device: The device to run on.

    Returns:
        The function that computes the stages.
    """
    model, _ = small.load()
    trunk = model.visual.trunk.requires_grad_(False).eval().to(device)

    def run(pixels: Tensor) -> Sequence[Tensor]:
        stages = trunk(pixels, MOBILENET_STAGES)
        return *stages, stages[-1]

    return run


def _patches(stage: Tensor, grid: tuple[int, int]) -> Floats:
    """Resize a stage [B,W,H',W'] to the grid, by averaging or interpolation, and return its patches [B,P,W]."""
    is_finer = stage.shape[2] > grid[0]
    resized = F.adaptive_avg_pool2d(stage, grid) if is_finer else F.interpolate(stage, grid, mode="bilinear")
    return to_numpy(resized.flatten(2).transpose(1, 2))
