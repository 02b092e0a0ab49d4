"""Backbones with random weights to measure speed on, and descriptions of encoders without a model. Needs torch."""

from __future__ import annotations

import open_clip
from goodparts.runtime.core.errors import BackboneError
from goodparts.runtime.engine.spec import Encoder, Tap
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.names import DEFAULT_NAME, RANDOM
from goodparts.trainer.clip.resnet_tower import DEFAULT_TAPS
from goodparts.trainer.clip.vv_tower import default_taps
from goodparts.trainer.clip.weights import check_name


def open_backbone(name: str) -> Backbone:
    """Open a backbone with seeded random weights; `small` has its own weights.

    Args:
        name: `small`, or an open_clip ViT or CLIP ResNet.

    Returns:
        The backbone, on the CPU.

    Raises:
        BackboneError: The name is unknown, or the model is of another kind.
    """
    return Backbone.open(name, pretrained=None if name == DEFAULT_NAME else RANDOM)


def describe_encoder(name: str) -> Encoder:
    """Describe a backbone's encoder from its configuration, without building a large model.

    Args:
        name: `small`, or an open_clip ViT or ResNet.

    Returns:
        The encoder. The digest of its weights is all zeros, except for `small`.

    Raises:
        BackboneError: The name is neither `small` nor a ViT or a ResNet of open_clip.
    """
    if name == DEFAULT_NAME:
        return Backbone.open(name).encoder
    check_name(name)
    config = open_clip.get_model_config(name)
    if config is None or "layers" not in config["vision_cfg"]:
        raise BackboneError(
            f"{name!r} is not a ViT or a ResNet of open_clip {open_clip.__version__}: "
            f"{DEFAULT_NAME} or one of those is accepted"
        )
    vision = config["vision_cfg"]
    size, layers, width = vision["image_size"], vision["layers"], vision["width"]
    if isinstance(layers, int):
        side = size // vision["patch_size"]
        taps = tuple(Tap(min(block, layers), width) for block in default_taps(layers))
    else:
        side = size // 2 ** (1 + DEFAULT_TAPS[0])
        taps = tuple(Tap(layer, width * 2 ** (1 + layer)) for layer in DEFAULT_TAPS)
    return Encoder(
        backbone=name,
        weights="0" * 64,
        image_size=size,
        grid=(side, side),
        width=config["embed_dim"],
        taps=taps,
    )
