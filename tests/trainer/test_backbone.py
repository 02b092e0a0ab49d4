from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from goodparts.runtime.errors import BackboneError, SettingsError
from goodparts.trainer.backbone import Backbone, randomise
from safetensors.torch import save_file


def test_the_demo_is_the_same_everywhere_and_small(demo: Backbone) -> None:
    assert demo.encoder == Backbone.open("demo").encoder
    assert demo.encoder.weights.startswith("0d6d0c52a839")
    assert demo.logit_scale == pytest.approx(math.log(100))


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_weights_come_from_a_local_file(tmp_path: Path, kind: str) -> None:
    model = open_clip.create_model("ViT-B-32")
    randomise(model, seed=9)
    path = tmp_path / f"weights.{kind}"
    if kind == "pt":
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)
    backbone = Backbone.open("ViT-B-32", weights=path)
    assert backbone.encoder == Backbone("ViT-B-32", model).encoder
    assert backbone.encoder.taps[1].block == 9


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("run",))

    path = tmp_path / "attack.pt"
    torch.save({"state_dict": Attack()}, path)
    with pytest.raises(BackboneError, match="does not hold weights for ViT-B-32"):
        Backbone.open("ViT-B-32", weights=path)


def test_wrong_weights_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(BackboneError, match="does not hold weights for ViT-B-32") as caught:
        Backbone.open("ViT-B-32", weights=path)
    assert "\n" not in str(caught.value)
    with pytest.raises(BackboneError, match=r"weights file .*none\.pt does not exist"):
        Backbone.open("ViT-B-32", weights=tmp_path / "none.pt")


def test_names_and_tags_are_checked() -> None:
    with pytest.raises(BackboneError, match="unknown backbone 'ViT-B-31': .* did you mean ViT-B-32"):
        Backbone.open("ViT-B-31")
    with pytest.raises(BackboneError, match="ViT-B-32 needs --pretrained TAG .*openai"):
        Backbone.open("ViT-B-32")
    with pytest.raises(BackboneError, match="no pretrained tag 'nothing': openai"):
        Backbone.open("ViT-B-32", pretrained="nothing")
    with pytest.raises(SettingsError, match="both given"):
        Backbone.open("ViT-B-32", pretrained="openai", weights=Path("x"))
    with pytest.raises(SettingsError, match="brings its own weights"):
        Backbone.open("demo", pretrained="openai")


def test_a_resnet_is_refused_by_name() -> None:
    with pytest.raises(BackboneError, match="image tower ModifiedResNet is not supported"):
        Backbone.open("RN50", pretrained="random")


def test_without_a_network_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from goodparts.trainer import backbone

    monkeypatch.setattr(backbone, "_hub_answers", lambda: False)
    monkeypatch.setattr(backbone.huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        BackboneError, match=r"no network; connect once, or copy .* --weights FILE, or try --backbone demo"
    ):
        Backbone.open("ViT-B-16-plus-240")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_named() -> None:
    with pytest.raises(SettingsError, match="--device cuda: torch .* finds no such device"):
        Backbone.open("demo", device="cuda")


def test_random_weights_depend_on_seed_name_and_shape_alone() -> None:
    layers = [torch.nn.Linear(3, 2) for _ in range(2)]
    for layer in layers:
        randomise(layer, seed=4)
    np.testing.assert_array_equal(layers[0].weight.detach(), layers[1].weight.detach())
