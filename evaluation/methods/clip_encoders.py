"""Encoders that no engine has: CLIP's image tower with another local path or other memory taps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

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
"""The name of these encoders as backends in reports."""


def plain(backbone: Backbone) -> OwnEncoder:
    """Open the engine's own encoder, for a method that needs torch for something else.

    Args:
        backbone: The backbone.

    Returns:
        The encoder.
    """
    return OwnEncoder(TORCH_ONLY, backbone.encode)


def plain_vit(backbone: Backbone) -> OwnEncoder:
    """Open the engine's own encoder, which must be a ViT.

    Args:
        backbone: The backbone.

    Returns:
        The encoder.

    Raises:
        SettingsError: The backbone is no ViT.
    """
    require_vit(backbone)
    return plain(backbone)


def ordinary_path(backbone: Backbone) -> OwnEncoder:
    """Open CLIP's own local path: the patches' tokens after its last block, with query-key attention.

    Args:
        backbone: The backbone, a ViT.

    Returns:
        The encoder.

    Raises:
        SettingsError: The backbone is no ViT.
    """

    def run(tower: VVTower, tokens: Tensor) -> Tensor:
        for block in tower.blocks:
            tokens = block(tokens)
        return tokens

    return _with_local_path(backbone, run)


def value_path(backbone: Backbone) -> OwnEncoder:
    """Open MaskCLIP (Zhou et al., ECCV 2022) as in PromptAD's tables: the V-V path with values instead of attention.

    The local path adds up the projected values of every block, as V-V attention's does. MaskCLIP itself takes the
    values of the last block only.

    Args:
        backbone: The backbone, a ViT.

    Returns:
        The encoder.

    Raises:
        SettingsError: The backbone is no ViT.
    """

    def run(tower: VVTower, tokens: Tensor) -> Tensor:
        local = tokens
        for block in tower.blocks:
            attention = block.attn
            value = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)[2]
            local = local + block.ls_1(attention.out_proj(value))
            tokens = block(tokens)
        return local

    return _with_local_path(backbone, run)


def _with_local_path(backbone: Backbone, run: Callable[[VVTower, Tensor], Tensor]) -> OwnEncoder:
    """Open the backbone with other local features: `run`, applied to the first block's input, and the projection."""
    tower = require_vit(backbone)

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            tokens = run(tower, tower.embed(torch.tensor(views, device=backbone.device)))
            local = to_numpy(tower.on_grid(tower.project(tokens[:, 1:]), tower.token_side))
        return dataclasses.replace(backbone.encode(views), local=local)

    return OwnEncoder(TORCH_ONLY, encode)


def middle_memory(backbone: Backbone) -> OwnEncoder:
    """Open memory taps at one half and three quarters of the blocks, like PatchCore's layers 2 and 3.

    Args:
        backbone: The backbone, a ViT.

    Returns:
        The encoder.

    Raises:
        SettingsError: The backbone is no ViT.
    """
    layers = len(require_vit(backbone).blocks)
    return _with_taps(backbone, (round(layers / 2), round(layers * 3 / 4)))


def every_block(backbone: Backbone) -> OwnEncoder:
    """Open the encoder whose memory features are every block's output, for linear layers to the joint space.

    Args:
        backbone: The backbone, a ViT.

    Returns:
        The encoder.

    Raises:
        SettingsError: The backbone is no ViT.
    """
    tower = require_vit(backbone)

    def encode(views: Array8) -> Features:
        with torch.inference_mode():
            tokens, outputs = tower.embed(torch.tensor(views, device=backbone.device)), []
            for block in tower.blocks:
                tokens = block(tokens)
                outputs.append(to_numpy(tower.on_grid(tokens[:, 1:], tower.token_side)))
        return dataclasses.replace(backbone.encode(views), memory=tuple(outputs))

    return OwnEncoder(TORCH_ONLY, encode)


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
    """Return the image tower, which must be a ViT's.

    Args:
        backbone: The backbone.

    Raises:
        SettingsError: The backbone is no ViT, so there are no blocks of tokens.
    """
    if not isinstance(backbone.visual, VVTower):
        raise SettingsError(f"{backbone.encoder.backbone} is no ViT: this method needs a ViT's blocks")
    return backbone.visual


def to_numpy(features: Tensor) -> Floats:
    """Return l2-normalised features as float32.

    Args:
        features: Features of any shape; the last dimension is normalised.
    """
    array: Floats = F.normalize(features.float(), dim=-1).cpu().numpy()
    return array
