"""Encoders of rows that no engine has: CLIP's image tower with another local path, or with other memory taps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features, Floats
from goodparts.trainer.clip.backbone import Backbone, wrap
from goodparts.trainer.clip.vv_tower import VVTower
from torch import Tensor

from .method import Pass

TORCH_ONLY = "torch only"


def plain(backbone: Backbone) -> Pass:
    """The engine's own features, for a method that torch is needed for otherwise."""
    return Pass(TORCH_ONLY, backbone.encode)


def ordinary_path(backbone: Backbone) -> Pass:
    """Local features as CLIP has them: the patches' tokens of its last block (query-key attention)."""
    return _other_local(backbone, lambda block, tokens: block(tokens))


def value_path(backbone: Backbone) -> Pass:
    """MaskCLIP (Zhou et al., ECCV 2022): of the last block the values alone, projected, without attention."""
    return _other_local(backbone, _values)


def _values(block: Any, tokens: Tensor) -> Tensor:
    attention = block.attn
    value = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)[2]
    projected: Tensor = attention.out_proj(value)
    return projected


def _other_local(backbone: Backbone, last: Callable[[Any, Tensor], Tensor]) -> Pass:
    tower = vit(backbone)

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            *blocks, end = tower.blocks
            tokens = tower.embed(torch.tensor(views, device=backbone.device))
            for block in blocks:
                tokens = block(tokens)
            local = to_numpy(tower.project(last(end, tokens)[:, 1:]))
        return dataclasses.replace(backbone.encode(views), local=local)

    return Pass(TORCH_ONLY, encode)


def middle_memory(backbone: Backbone) -> Pass:
    """Memory taps where PatchCore has its layers 2 and 3: at one half and three quarters of the blocks."""
    layers = len(vit(backbone).blocks)
    return _other_taps(backbone, (round(layers / 2), round(layers * 3 / 4)))


def quarter_memory(backbone: Backbone) -> Pass:
    """Memory taps at every quarter of the blocks, as APRIL-GAN's linear layers have them."""
    layers = len(vit(backbone).blocks)
    return _other_taps(backbone, tuple(sorted({max(1, round(layers * part / 4)) for part in range(1, 5)})))


def _other_taps(backbone: Backbone, taps: tuple[int, ...]) -> Pass:
    tower = wrap(backbone.visual.visual, taps).to(backbone.device).eval()

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            outputs = tower(torch.tensor(views, device=backbone.device))
        arrays = [output.float().cpu().numpy() for output in outputs]
        return Features(arrays[0], arrays[1], tuple(arrays[2:]), tower.grid)

    return Pass(TORCH_ONLY, encode)


def vit(backbone: Backbone) -> VVTower:
    """SettingsError for a ResNet, whose patches no block turns into tokens."""
    if not isinstance(backbone.visual, VVTower):
        raise SettingsError(f"{backbone.encoder.backbone} is no ViT: this row needs a ViT's blocks")
    return backbone.visual


def to_numpy(features: Tensor) -> Floats:
    """l2-normalised, float32."""
    array: Floats = F.normalize(features.float(), dim=-1).cpu().numpy()
    return array
