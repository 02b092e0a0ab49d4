"""The tower of a backbone without text: a ViT or CNN of timm, whose taps give the memory.

A ViT's taps are the patch tokens after the tapped blocks, normalised by the model's last norm, without class and
register tokens. A CNN's taps are its feature levels. There is no joint space: the local features are the deepest tap's,
and the global feature is the class token after that tap, or the mean of the patches if the model has no class token.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from goodparts.runtime.core.errors import BackboneError
from timm.layers import GELU
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ..clip.tower import Taps, Tower, check_taps, grid_features

CNN_STRIDES = (8, 16)
"""The strides of a CNN's default taps, the last level of each stride: a ResNet's layers 2 and 3 (PatchCore)."""


class TimmVisual(nn.Module):
    """A timm model without its classifier, for square pictures of one size.

    Attributes:
        is_vit: Whether it is a ViT, whose taps are blocks.
        levels: The number of its blocks or feature levels.

    Args:
        model: The timm model, made for this size.
        image_size: The side of the pictures in pixels.

    Raises:
        BackboneError: The model does not return its feature maps.
    """

    def __init__(self, model: Any, image_size: int) -> None:
        super().__init__()
        self.model = model
        self.image_size = image_size
        config = model.pretrained_cfg
        self.preprocess_cfg = {"mean": config["mean"], "std": config["std"]}
        self.is_vit = isinstance(model, VisionTransformer | Eva)
        if not (hasattr(model, "forward_intermediates") and hasattr(model, "prune_intermediate_layers")):
            raise BackboneError(f"{type(model).__name__} of timm does not return its feature maps")
        self.strides = tuple(info["reduction"] for info in model.feature_info)
        self.widths = tuple(int(info["num_chs"]) for info in model.feature_info)
        self.levels = len(self.widths)

    def default_taps(self) -> Taps:
        """Return a ViT's last block (AnomalyDINO), or a CNN's last level of each stride, joined to one output."""
        if self.is_vit:
            return (self.levels,)
        levels = tuple(
            max(level for level, stride in enumerate(self.strides, start=1) if stride == wanted)
            for wanted in CNN_STRIDES
            if wanted in self.strides
        )
        return (levels,) if len(levels) > 1 else levels or (self.levels,)

    def keep_until(self, level: int) -> None:
        """Drop the classifier and everything after a block or level.

        Args:
            level: The block or level, counted from 1.
        """
        self.model.prune_intermediate_layers([level - 1], prune_norm=False, prune_head=True)

    def forward(self, pixels: Tensor, levels: tuple[int, ...]) -> tuple[dict[int, Tensor], Tensor]:
        """Return maps by level, [B, W, h, w] each, and a summary of the deepest map, [B, W].

        The summary is the class token, or the mean of the patches if the model has no class token.

        Args:
            pixels: [B, 3, S, S], standardised.
            levels: Blocks or levels, counted from 1, in rising order.
        """
        indices = [level - 1 for level in levels]
        options: dict[str, Any] = {"stop_early": True, "intermediates_only": True, "output_fmt": "NCHW"}
        if not self.is_vit:
            maps = self.model.forward_intermediates(pixels, indices=indices, **options)
            return dict(zip(levels, maps, strict=True)), maps[-1].mean(dim=(2, 3))
        options |= {"norm": True, "return_prefix_tokens": True}
        given = self.model.forward_intermediates(pixels, indices=indices, **options)
        if self.model.num_prefix_tokens == 0:
            return dict(zip(levels, given, strict=True)), given[-1].mean(dim=(2, 3))
        maps, prefixes = zip(*given, strict=True)
        return dict(zip(levels, maps, strict=True)), prefixes[-1][:, 0]


class TimmTower(Tower):
    """Wraps a TimmVisual; its memory is the maps of the tapped blocks or levels.

    Args:
        visual: The model.
        taps: The blocks or levels that the memory is taken from, counted from 1, in rising order; a tuple of them is
            joined to one output. None for those of `default_taps`.
        grid: The side of the grid of patches of every output; None for the finest tap's.
        neighbourhood: The odd side of the square of patches that each patch of the memory is averaged over; None for 1.

    Raises:
        SettingsError: The taps are no blocks or levels of the model, or grid or neighbourhood is out of range.
    """

    def __init__(
        self,
        visual: TimmVisual,
        taps: Taps | None = None,
        grid: int | None = None,
        neighbourhood: int | None = None,
    ) -> None:
        activations = (part for part in visual.modules() if type(part).__module__.startswith("torch.nn.modules.activ"))
        super().__init__(visual, next(activations, GELU()))
        chosen = visual.default_taps() if taps is None else taps
        self.groups = tuple(check_taps(tap if isinstance(tap, tuple) else (tap,), visual.levels) for tap in chosen)
        self.taps = check_taps(tuple(group[-1] for group in self.groups), visual.levels)
        self.tap_widths = tuple(sum(visual.widths[level - 1] for level in group) for group in self.groups)
        self.image_size = visual.image_size
        self.out_width = visual.widths[self.taps[-1] - 1]
        visual.keep_until(self.taps[-1])
        finest = -(-self.image_size // min(visual.strides[level - 1] for group in self.groups for level in group))
        self.set_grid(finest if grid is None else grid, 1 if neighbourhood is None else neighbourhood)

    @property
    def joined(self) -> tuple[tuple[int, ...], ...]:
        return tuple(group[:-1] for group in self.groups)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pixels = self.standardise(image.to(self.mean.dtype).flatten(2)).reshape(image.shape).permute(0, 3, 1, 2)
        levels = tuple(sorted({level for group in self.groups for level in group}))
        maps, summary = self.visual(pixels, levels)
        features = {level: grid_features(maps[level], self.grid, self.neighbourhood) for level in levels}
        memory = [torch.cat([features[level] for level in group], dim=2) * len(group) ** -0.5 for group in self.groups]
        last = self.taps[-1]
        local = features[last] if self.neighbourhood == 1 else grid_features(maps[last], self.grid)
        return F.normalize(summary, dim=-1), local, *memory
