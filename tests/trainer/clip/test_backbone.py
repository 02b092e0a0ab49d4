from __future__ import annotations

import json
import math
import socket
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import torch
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.errors import BackboneError, SettingsError
from goodparts.trainer.clip import backbone
from goodparts.trainer.clip.backbone import Backbone, wrap
from goodparts.trainer.clip.weights import randomise, silent_host
from goodparts.trainer.embedded.model import WEIGHTS
from goodparts.trainer.promptad.ensemble import ensemble
from open_clip.timm_model import TimmModel
from safetensors.torch import save_file

from tests.conftest import open_vit


def test_small_brings_its_own_weights_and_memory(small: Backbone) -> None:
    encoder = small.encoder
    assert encoder == Backbone.open("small", taps=(6, 13)).encoder
    assert (encoder.grid, [(tap.block, tap.width) for tap in encoder.taps]) == ((30, 30), [(6, 32), (13, 96)])
    assert WEIGHTS.stat().st_size < 6e6
    assert 1 < small.logit_scale <= math.log(100) + 1e-3
    other = Backbone.open("small", taps=(3, 13), grid=15, neighbourhood=1).encoder
    assert (other.grid, [(tap.block, tap.width) for tap in other.taps]) == ((15, 15), [(3, 24), (13, 96)])
    assert (encoder.neighbourhood, other.neighbourhood, other.weights) == (3, 1, encoder.weights)
    with pytest.raises(SettingsError, match="block numbers from 1 to 13"):
        Backbone.open("small", taps=(6, 17))
    with pytest.raises(SettingsError, match="leave out --pretrained and --weights"):
        Backbone.open("small", pretrained="openai")


def test_prompts_of_small_find_defects_in_unlearned_products(small: Backbone) -> None:
    prompts = ensemble(small.text, "surface").image
    margins = {}
    for defect in (None, "rust"):
        photos = [DrawnProduct("turned metal", 0).photo(piece, defect, (240, 240)).image for piece in range(6)]
        global_ = small.encode(np.stack(photos)).global_
        margins[defect] = global_ @ (prompts[1] - prompts[0])
    above = margins["rust"][:, None] > margins[None][None, :]
    assert above.mean() > 0.8  # 0.5 is chance; turned metal and rust are held out of the training


def test_words_that_small_has_not_learned_are_named(small: Backbone) -> None:
    assert small.unknown_words(["damaged metal nut", "{} with scratch", "a circuit board", "leather gear"]) == []
    assert small.unknown_words(["flugelhorn with {} scratch", "nut"]) == ["flugelhorn"]


@pytest.mark.usefixtures("narrow")
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


@pytest.mark.usefixtures("narrow")
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("run",))

    path = tmp_path / "attack.pt"
    torch.save({"state_dict": Attack()}, path)
    with pytest.raises(BackboneError, match="attack.pt holds more than tensors"):
        Backbone.open("ViT-B-32", weights=path)


@pytest.mark.usefixtures("narrow")
def test_wrong_weights_are_a_one_line_error(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    missing = r"does not hold weights for ViT-B-32: \d+ missing \(positional_embedding, .*, …\); 1 unexpected \(x\)"
    with pytest.raises(BackboneError, match=missing) as caught:
        Backbone.open("ViT-B-32", weights=path)
    assert "\n" not in str(caught.value)
    with pytest.raises(BackboneError, match=r"weights file .*none\.pt does not exist"):
        Backbone.open("ViT-B-32", weights=tmp_path / "none.pt")


def test_names_and_tags_are_checked() -> None:
    with pytest.raises(BackboneError, match="unknown backbone 'ViT-B-31': .* did you mean ViT-B-32"):
        Backbone.open("ViT-B-31")
    with pytest.raises(BackboneError, match="the backbone demo is gone, small replaced it: leave out --backbone"):
        Backbone.open("demo")
    with pytest.raises(BackboneError, match="ViT-B-32 needs --pretrained TAG .*openai"):
        Backbone.open("ViT-B-32")
    with pytest.raises(BackboneError, match="no pretrained tag 'nothing': openai"):
        Backbone.open("ViT-B-32", pretrained="nothing")
    with pytest.raises(SettingsError, match="both given"):
        Backbone.open("ViT-B-32", pretrained="openai", weights=Path("x"))
    with pytest.raises(SettingsError, match="brings its own weights"):
        Backbone.open("small", pretrained="openai")


@pytest.mark.usefixtures("narrow")
def test_a_resnet_comes_from_a_local_file(tmp_path: Path) -> None:
    model = open_clip.create_model("RN50")
    randomise(model, seed=9)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    encoder = Backbone.open("RN50-quickgelu", weights=tmp_path / "weights.safetensors").encoder
    assert encoder == Backbone("RN50-quickgelu", model).encoder
    assert (encoder.image_size, encoder.grid, encoder.width) == (224, (28, 28), 1024)
    assert [(tap.block, tap.width) for tap in encoder.taps] == [(2, 512), (3, 1024)]


def test_a_tower_of_another_library_is_refused() -> None:
    with pytest.raises(BackboneError, match="an image tower of timm's ResNet is not supported: only ViTs are"):
        wrap(TimmModel("resnet10t", embed_dim=8, pool="abs_attn", proj=""))


@pytest.mark.usefixtures("narrow")
def test_weights_of_another_shape_are_counted_and_named(tmp_path: Path) -> None:
    state = open_clip.create_model("ViT-B-32").state_dict()
    state["text_projection"] = torch.zeros(64, 31)
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(BackboneError, match=r"for ViT-B-32: 1 of another shape \(text_projection\)$"):
        Backbone.open("ViT-B-32", weights=tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ViT-B-16-SigLIP",
            "ViT-B-16-SigLIP: an image tower that pools by map is not supported: only pooling by",
        ),
        ("roberta-ViT-B-32", "text tower roberta-base is not supported"),
        ("coca_ViT-B-32", "pool otherwise than by class token"),
        ("ViT-H-14-worldwide", "a text vocabulary of 901629 is not supported"),
    ],
)
def test_what_is_not_supported_is_refused_before_anything_is_downloaded(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone, "open_model", lambda *_: pytest.fail("the weights were asked for"))
    with pytest.raises(BackboneError, match=message):
        Backbone.open(name, pretrained=open_clip.list_pretrained_tags_by_model(name)[0])


@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
def test_a_proxy_that_does_not_answer_is_named_at_once(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"http://user:secret@127.0.0.1:{port}")
    assert silent_host() == f"the proxy 127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", port)):
        assert silent_host() is None


def test_without_a_network_the_error_tells_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from goodparts.trainer.clip import weights

    monkeypatch.setattr(weights, "silent_host", lambda: "hub.example:443")
    monkeypatch.setattr(weights.huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        BackboneError,
        match=r"hub.example:443 does not answer; connect once, or copy .* --weights FILE, or take --backbone small",
    ):
        Backbone.open("ViT-B-16-plus-240")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_named() -> None:
    with pytest.raises(SettingsError, match="--device cuda: torch .* cannot use it"):
        Backbone.open("small", device="cuda")


def test_random_weights_depend_only_on_seed_name_and_shape() -> None:
    layers = [torch.nn.Linear(3, 2) for _ in range(2)]
    for layer in layers:
        randomise(layer, seed=4)
    np.testing.assert_array_equal(layers[0].weight.detach(), layers[1].weight.detach())


def test_random_batch_statistics_are_plausible() -> None:
    norm = torch.nn.BatchNorm2d(1000)
    randomise(norm, seed=4)
    assert norm.running_var.min() > 0.5
    assert abs(norm.running_mean.mean()) < 0.05 < norm.running_mean.std()
    assert float(norm.weight.detach().mean()) == pytest.approx(1, abs=0.05)


@pytest.mark.usefixtures("narrow")
def test_the_hash_tells_activations_and_pixel_scaling_apart() -> None:
    plain, quick = open_clip.create_model("ViT-B-32"), open_clip.create_model("ViT-B-32", force_quick_gelu=True)
    scaled = open_clip.create_model("ViT-B-32", force_preprocess_cfg={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)})
    for model in (plain, quick, scaled):
        randomise(model, seed=2)
    hashes = {Backbone("ViT-B-32", model).encoder.weights for model in (plain, quick, scaled)}
    assert len(hashes) == 3


def test_a_tag_trained_with_quick_gelu_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from goodparts.trainer.clip import weights

    seen: dict[str, object] = {}

    def record(name: str, **options: object) -> None:
        seen[name] = options["force_quick_gelu"]
        raise RuntimeError("no download in a test")

    monkeypatch.setattr(weights, "silent_host", lambda: None)
    monkeypatch.setattr(weights.open_clip, "create_model", record)
    for name, tag in (("ViT-L-14-336", "openai"), ("ViT-B-16-plus-240", "laion400m_e32")):
        with pytest.raises(BackboneError, match="no download in a test"):
            weights.open_model(name, tag, None)
    assert seen == {"ViT-L-14-336": True, "ViT-B-16-plus-240": False}


@pytest.mark.parametrize("taps", [(0, 2), (2, 99), (4, 2), ()])
def test_impossible_taps_are_refused(taps: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match="block numbers from 1 to 5 in rising order"):
        open_vit(taps)


def test_taps_are_part_of_the_identity(vit: Backbone) -> None:
    other = open_vit((1, 3))
    assert [tap.block for tap in other.encoder.taps] == [1, 3]
    assert other.encoder != vit.encoder


def test_a_repository_of_the_hub_is_opened_from_the_local_cache_without_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name, snapshot = "hf-hub:someone/tiny", tmp_path / "models--someone--tiny" / "snapshots" / "abc"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused = r"cannot get the configuration of hf-hub:someone/tiny: .*, and HF_HUB_OFFLINE is set; connect once"
    with pytest.raises(BackboneError, match=refused):
        Backbone.open(name)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    config = open_clip.get_model_config("ViT-tiny")
    (snapshot / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    with pytest.raises(BackboneError, match=r"cannot get the weights of hf-hub:someone/tiny: .* HF_HUB_OFFLINE is set"):
        Backbone.open(name)
    model = open_clip.create_model("ViT-tiny")
    randomise(model, seed=3)
    save_file(model.state_dict(), snapshot / "open_clip_model.safetensors")
    opened = Backbone.open(name)
    assert (opened.encoder.backbone, opened.encoder.weights) == (name, Backbone("ViT-tiny", model).encoder.weights)
    with pytest.raises(SettingsError, match="brings its own weights: leave out --pretrained and --weights"):
        Backbone.open(name, pretrained="openai")
