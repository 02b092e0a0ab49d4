"""What every image tower shares: uint8 pixels in, l2-normalised features out, and what the engine says about them."""

from __future__ import annotations

from typing import Any

import torch
from goodparts.runtime.core.errors import SettingsError
from torch import Tensor, nn

# CLIP's own; some checkpoints bring others.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class Tower(nn.Module):
    """Wraps a frozen open_clip image tower; image uint8 [B,S,S,3] → global, local, and one memory per tap.

    image_size: S; grid: (rows, columns) with rows·columns = P, of every output; out_width: of the joint space, D;
    taps: the blocks that the memory is taken from, counted from 1, and tap_widths, W of each.
    """

    visual: Any  # open_clip is untyped
    mean: Tensor
    std: Tensor
    image_size: int
    grid: tuple[int, int]
    out_width: int
    taps: tuple[int, ...]
    tap_widths: tuple[int, ...]

    def __init__(self, visual: Any, activation: nn.Module) -> None:
        """activation: one of the model's nonlinearities; all are alike."""
        super().__init__()
        self.visual = visual
        self._activation = type(activation).__name__
        preprocessing = getattr(visual, "preprocess_cfg", None) or {}
        self.register_buffer("mean", torch.tensor(preprocessing.get("mean") or MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.get("std") or STD), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """image: uint8 RGB [B,S,S,3]. Returns l2-normalised global [B,D], local [B,P,D], and [B,P,W] per tap."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return what the features depend on besides the weights: activation, mean and standard deviation of pixels."""
        return f"{self._activation} {self.mean.tolist()} {self.std.tolist()}"

    def standardise(self, pixels: Tensor) -> Tensor:
        """Scale RGB from 0 to 255, pixel beside pixel [B,…,n·3], to what the model was trained on.

        A row holds many pixels: for a last dimension of 3, libraries take three steps where one vector would do.
        """
        count = pixels.shape[-1] // len(self.mean)
        return (pixels / 255.0 - self.mean.repeat(count)) / self.std.repeat(count)


def check_taps(taps: tuple[int, ...], blocks: int) -> tuple[int, ...]:
    """Return the taps; raise SettingsError unless they are numbers of blocks in rising order."""
    if not taps or not all(1 <= tap <= blocks for tap in taps) or list(taps) != sorted(taps):
        raise SettingsError(f"memory taps {taps}: block numbers from 1 to {blocks} in rising order")
    return taps
