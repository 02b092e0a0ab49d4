"""Towers of timm's models, compared with timm's own forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from goodparts.runtime.core.errors import BackboneError, SettingsError
from goodparts.trainer.clip.backbone import Backbone

SIZE = 64


def open_random(name: str, size: int = SIZE, **options: Any) -> Backbone:
    return Backbone.open(f"timm:{name}", pretrained="random", image_size=size, **options)


def noise(size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)


def standardised(backbone: Backbone, size: int = SIZE) -> torch.Tensor:
    pixels = torch.from_numpy(noise(size)).permute(0, 3, 1, 2) / 255
    config = backbone.visual.visual.model.pretrained_cfg
    return (pixels - torch.tensor(config["mean"])[:, None, None]) / torch.tensor(config["std"])[:, None, None]


def unit(values: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(values, dim=-1).numpy()


@pytest.mark.parametrize(("name", "size", "prefix"), [("vit_small_patch14_reg4_dinov2", 28, 5),
                                                      ("vit_tiny_patch16_dinov3_qkvb", 32, 5)])  # fmt: skip
def test_a_vits_memory_is_its_last_patch_tokens_without_class_and_registers(name: str, size: int, prefix: int) -> None:
    backbone = open_random(name, size)
    features, model = backbone.encode(noise(size)), backbone.visual.visual.model
    with torch.inference_mode():
        tokens = model.forward_features(standardised(backbone, size))
    assert tokens.shape[1] == 4 + prefix
    [memory] = features.memory
    # fp32 sums in another order; features are unit vectors.
    np.testing.assert_allclose(memory, unit(tokens[:, prefix:]), atol=1e-5)
    np.testing.assert_allclose(features.local, memory, atol=0)
    np.testing.assert_allclose(features.global_, unit(tokens[:, 0]), atol=1e-5)
    assert [(tap.block, tap.width) for tap in backbone.encoder.taps] == [(12, memory.shape[2])]


def test_a_cnns_memory_is_its_levels_of_strides_8_and_16_joined() -> None:
    backbone = open_random("mobilenetv3_small_050")
    features, model = backbone.encode(noise()), backbone.visual.visual.model
    with torch.inference_mode():
        maps = model.forward_intermediates(standardised(backbone), indices=[2, 3], intermediates_only=True)
    assert [tuple(level.shape[2:]) for level in maps] == [(8, 8), (4, 4)]
    resized = torch.nn.functional.interpolate(maps[1], size=(8, 8), mode="bilinear")
    levels = [unit(level.flatten(2).transpose(1, 2)) for level in (maps[0], resized)]
    [memory] = features.memory
    np.testing.assert_allclose(memory, np.concatenate(levels, axis=2) / np.sqrt(2), atol=1e-5)
    np.testing.assert_allclose(features.local, levels[1], atol=1e-5)
    np.testing.assert_allclose(features.global_, unit(maps[1].mean(dim=(2, 3))), atol=1e-5)
    assert str(backbone.encoder.taps[0]) == "3+4"


def test_levels_may_be_separate_memories_and_averaged_over_neighbours() -> None:
    joined = open_random("mobilenetv3_small_050").encode(noise()).memory[0][:, :, :16]
    single, _ = open_random("mobilenetv3_small_050", taps=(3, 4)).encode(noise()).memory
    np.testing.assert_allclose(single, np.sqrt(2) * joined, atol=1e-6)
    averaged, _ = open_random("mobilenetv3_small_050", taps=(3, 4), neighbourhood=3).encode(noise()).memory
    assert np.abs(averaged - single).max() > 0.1


def test_what_lies_behind_the_last_tap_is_dropped() -> None:
    whole, short = open_random("resnet18", taps=(3, 5)), open_random("resnet18", taps=(3,))
    sizes = [sum(tensor.numel() for tensor in backbone.visual.state_dict().values()) for backbone in (whole, short)]
    assert sizes[1] < sizes[0] / 10
    np.testing.assert_array_equal(short.encode(noise()).memory[0], whole.encode(noise()).memory[0])


def test_an_image_size_has_to_be_a_multiple_of_the_patch() -> None:
    with pytest.raises(SettingsError, match="--image-size 60 is no multiple of the 14 pixels .* give 56 or 70"):
        open_random("vit_small_patch14_dinov2", 60)
    with pytest.raises(SettingsError, match="--image-size 320: small reads pictures of one size"):
        Backbone.open("small", image_size=320)


def test_prompts_are_refused_in_one_line() -> None:
    backbone = open_random("mobilenetv3_small_050")
    assert not backbone.has_text
    with pytest.raises(SettingsError, match="timm:mobilenetv3_small_050 has no text tower, so it learns no prompts"):
        _ = backbone.text


def test_a_name_that_timm_does_not_know_is_refused_with_a_proposal() -> None:
    with pytest.raises(BackboneError, match="unknown backbone timm:resnet19: .* did you mean resnet18"):
        open_random("resnet19")
    with pytest.raises(BackboneError, match=r"timm:resnet18 has no pretrained tag 'x': a1_in1k, .*, or random"):
        Backbone.open("timm:resnet18", pretrained="x")
