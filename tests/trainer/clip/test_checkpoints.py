"""Files of CLIP weights in every form that people have: each loads, or the error tells what it is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import safetensors.torch
import torch
from goodparts.runtime.core.errors import BackboneError
from goodparts.trainer.clip.checkpoints import read_checkpoint
from goodparts.trainer.clip.weights import open_model, randomise
from torch import Tensor, nn

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def model() -> Any:
    """A small CLIP of open_clip with random weights."""
    model = open_clip.create_model("ViT-tiny")
    randomise(model, seed=1)
    return model


def named_as_by_hugging_face(tensors: Tensors) -> Tensors:
    """Rename the tensors of a CLIP as the transformers library does, which splits the projections of attention."""
    named: Tensors = {"text_model.embeddings.position_ids": torch.arange(4)}
    towers = {"visual.": ("vision_model", "pre_layrnorm", "post_layernorm"), "": ("text_model", "", "final_layer_norm")}
    for name, tensor in tensors.items():
        prefix = "visual." if name.startswith("visual.") else ""
        tower, before, after = towers[prefix]
        inner = name.removeprefix(prefix)
        if inner.startswith("transformer.resblocks."):
            number, part = inner.removeprefix("transformer.resblocks.").split(".", 1)
            layer = f"{tower}.encoder.layers.{number}"
            if part.startswith("attn.in_proj_"):
                for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                    named[f"{layer}.self_attn.{letter}_proj.{part.removeprefix('attn.in_proj_')}"] = third
                continue
            renamed = (
                ("attn.out_proj", "self_attn.out_proj"),
                ("ln_", "layer_norm"),
                ("c_fc", "fc1"),
                ("c_proj", "fc2"),
            )
            for ours, theirs in renamed:
                part = part.replace(ours, theirs)
            named[f"{layer}.{part}"] = tensor
        elif inner in ("proj", "text_projection"):
            named["visual_projection.weight" if prefix else "text_projection.weight"] = tensor.t()
        else:
            embeddings = {
                "token_embedding": "token_embedding", "positional_embedding": "position_embedding.weight",
                "class_embedding": "class_embedding", "conv1": "patch_embedding",
            }  # fmt: skip
            norms = {"ln_pre": before, "ln_post": after, "ln_final": after}
            for ours, theirs in {**{key: f"embeddings.{name}" for key, name in embeddings.items()}, **norms}.items():
                inner = inner.replace(ours, theirs)
            named[inner if inner == "logit_scale" else f"{tower}.{inner}"] = tensor
    return named


def prefixed(prefix: str) -> Callable[[Tensors], Any]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "form",
    [
        lambda tensors: tensors,
        lambda tensors: {"epoch": 3, "state_dict": tensors},
        lambda tensors: {"model": prefixed("_orig_mod.")(tensors), "optimizer": {"step": 1}},
        prefixed("module."),
        prefixed("module._orig_mod.clip."),
        lambda tensors: {name: tensor.half() for name, tensor in tensors.items()},
        named_as_by_hugging_face,
    ],
)
def test_the_model_is_the_same_however_its_weights_are_saved(
    model: Any, tmp_path: Path, form: Callable[[Tensors], Any]
) -> None:
    file = tmp_path / "weights.pt"
    torch.save(form(model.state_dict()), file)
    loaded = open_model("ViT-tiny", None, file).state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-4)  # half precision keeps 11 bits


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated, but its archives stay in use
def test_an_archive_of_torchscript_gives_its_tensors_and_runs_no_code(model: Any, tmp_path: Path) -> None:
    file = tmp_path / "ViT.pt"
    torch.jit.save(torch.jit.script(Weights(model.state_dict())), str(file))
    checkpoint = read_checkpoint(file)
    assert checkpoint.quick_gelu
    assert checkpoint.tensors.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(checkpoint.tensors[name], tensor, rtol=0, atol=0)
    loaded = open_model("ViT-tiny", None, file)
    assert type(loaded.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


class Weights(nn.Module):
    """A module with nothing but tensors under given names, as a scripted model has."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        inner: dict[str, Tensors] = {}
        for name, tensor in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                inner.setdefault(first, {})[rest] = tensor
            else:
                self.register_buffer(name, tensor)
        for name, part in inner.items():
            self.add_module(name, Weights(part))

    def forward(self) -> int:
        return 0


def test_whether_gelu_is_openais_is_read_beside_a_file_of_the_transformers_library(model: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    tensors = named_as_by_hugging_face(model.state_dict())
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    assert read_checkpoint(file).quick_gelu is None
    for activation, quick in (("quick_gelu", True), ("gelu", False)):
        (tmp_path / "config.json").write_text(json.dumps({"vision_config": {"hidden_act": activation}}))
        assert read_checkpoint(file).quick_gelu is quick


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harmed"),))


def test_the_error_tells_what_a_file_is_that_holds_no_whole_clip(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pt"
    tower = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("visual.")}
    bare = {name.removeprefix("visual."): tensor for name, tensor in tower.items()}
    for tensors in (tower, bare):
        torch.save(tensors, file)
        with pytest.raises(BackboneError, match="image tower of a CLIP only: prompts need its text tower as well"):
            read_checkpoint(file)
    torch.save({"state_dict": Harmful()}, file)
    with pytest.raises(BackboneError, match="holds more than tensors and is not read, because its code would run"):
        read_checkpoint(file)
    file.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(BackboneError, match="weights.pt"):
        read_checkpoint(file)
    assert not Path("harmed").exists()
    for content in (b"", b"no weights", b"PK\x03\x04"):
        file.write_bytes(content)
        with pytest.raises(BackboneError, match="is no file of weights that can be read|holds more than tensors"):
            read_checkpoint(file)
    torch.save({"step": 3}, file)
    with pytest.raises(BackboneError, match="is no file of weights that can be read: no tensors by name"):
        read_checkpoint(file)
