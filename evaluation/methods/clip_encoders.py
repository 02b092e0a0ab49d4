"""Encoders that no engine has: CLIP's image tower with another local path, or with other memory taps."""

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

from .method import OwnEncoder

TORCH_ONLY = "torch only"


def plain(backbone: Backbone) -> OwnEncoder:
    """Open the engine's own encoder, for a method that needs torch for something else."""
    return OwnEncoder(TORCH_ONLY, backbone.encode)


def ordinary_path(backbone: Backbone) -> OwnEncoder:
    """Open CLIP's own local path: the patches' tokens of its last block (query-key attention)."""
    return _with_local_path(backbone, lambda block, tokens: block(tokens))


def value_path(backbone: Backbone) -> OwnEncoder:
    """Open MaskCLIP's local path (Zhou et al., ECCV 2022): the last block's values, projected, without attention."""
    return _with_local_path(backbone, _project_values)


def _project_values(block: Any, tokens: Tensor) -> Tensor:
    attention = block.attn
    value = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)[2]
    projected: Tensor = attention.out_proj(value)
    return projected


def _with_local_path(backbone: Backbone, run_last: Callable[[Any, Tensor], Tensor]) -> OwnEncoder:
    """Open the backbone with local features that run_last makes of the last block and the tokens before it."""
    tower = require_vit(backbone)

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            *blocks, last = tower.blocks
            tokens = tower.embed(torch.tensor(views, device=backbone.device))
            for block in blocks:
                tokens = block(tokens)
            local = to_numpy(tower.on_grid(tower.project(run_last(last, tokens)[:, 1:]), tower.token_side))
        return dataclasses.replace(backbone.encode(views), local=local)

    return OwnEncoder(TORCH_ONLY, encode)


def middle_memory(backbone: Backbone) -> OwnEncoder:
    """Open memory taps where PatchCore has its layers 2 and 3: at one half and three quarters of the blocks."""
    layers = len(require_vit(backbone).blocks)
    return _with_taps(backbone, (round(layers / 2), round(layers * 3 / 4)))


def quarter_memory(backbone: Backbone) -> OwnEncoder:
    """Open memory taps at every quarter of the blocks, where APRIL-GAN has its linear layers."""
    layers = len(require_vit(backbone).blocks)
    return _with_taps(backbone, tuple(sorted({max(1, round(layers * part / 4)) for part in range(1, 5)})))


def _with_taps(backbone: Backbone, taps: tuple[int, ...]) -> OwnEncoder:
    own = backbone.visual
    tower = wrap(own.visual, taps, own.grid[0], own.neighbourhood).to(backbone.device).eval()

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            outputs = tower(torch.tensor(views, device=backbone.device))
        global_, local, *memory = (output.float().cpu().numpy() for output in outputs)
        return Features(global_, local, tuple(memory), tower.grid)

    return OwnEncoder(TORCH_ONLY, encode)


def require_vit(backbone: Backbone) -> VVTower:
    """Return the image tower; raise SettingsError for a ResNet, whose patches no block turns into tokens."""
    if not isinstance(backbone.visual, VVTower):
        raise SettingsError(f"{backbone.encoder.backbone} is no ViT: this row needs a ViT's blocks")
    return backbone.visual


def to_numpy(features: Tensor) -> Floats:
    """Return l2-normalised features as float32."""
    array: Floats = F.normalize(features.float(), dim=-1).cpu().numpy()
    return array
