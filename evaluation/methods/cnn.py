"""The ImageNet CNN that PatchCore, SPADE and PaDiM were published on: a Wide ResNet-50-2, through timm.

Its weights come from the Hugging Face cache where they are (`hf download timm/wide_resnet50_2.tv_in1k`); nothing is
fetched. Without them they are random, which the rows say: such numbers compare nothing but the cost.

Photos come at the encoder's size, with ImageNet's mean and standard deviation. All stages lie on the second one's
grid: the papers of SPADE and PaDiM have the first one's, which is four times as fine.
"""

from __future__ import annotations

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

from .clip_paths import TORCH_ONLY, to_numpy
from .method import Pass

NAME = "wide_resnet50_2"
REPOSITORY = f"timm/{NAME}.tv_in1k"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@functools.lru_cache(maxsize=1)
def cnn(backbone: Backbone) -> Pass:
    """global_: the last stage's mean; memory: stages 1 to 3 on the grid of stage 2; local: of stage 3 alone."""
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

    return Pass(name, encode, digest)


def _patches(stage: Tensor, grid: tuple[int, int]) -> Floats:
    """[B,W,H',W'] → [B,P,W]: averaged to a coarser grid, interpolated to a finer one."""
    finer = stage.shape[2] > grid[0]
    moved = F.adaptive_avg_pool2d(stage, grid) if finer else F.interpolate(stage, grid, mode="bilinear")
    return to_numpy(moved.flatten(2).transpose(1, 2))
