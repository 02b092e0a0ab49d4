"""The V-V tower against an independent reference: float64 and plain loops, written from PromptAD's equations 4-7."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import pytest
import torch
from goodparts.runtime.core.errors import BackboneError
from goodparts.trainer.anople.tower import PromptedTower
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.tower import MEAN, STD
from goodparts.trainer.clip.vv_tower import VVTower, default_taps
from goodparts.trainer.clip.weights import randomise

Doubles = npt.NDArray[np.float64]
State = dict[str, Doubles]


def small_clip(layers: int, **vision: Any) -> Any:
    model = open_clip.CLIP(
        embed_dim=12,
        vision_cfg={"image_size": 24, "patch_size": 8, "width": 16, "head_width": 8, "layers": layers, **vision},
        text_cfg={"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    )
    randomise(model, seed=3)
    return model


def layer_norm(x: Doubles, state: State, name: str) -> Doubles:
    mean, variance = x.mean(), x.var()
    return (x - mean) / math.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def attend(queries: list[Doubles], keys: list[Doubles], values: list[Doubles], heads: int) -> list[Doubles]:
    width = len(queries[0])
    size = width // heads
    result = []
    for query in queries:
        out = np.zeros(width)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            weights = np.array([math.exp(query[part] @ key[part] / math.sqrt(size)) for key in keys])
            weights /= weights.sum()
            out[part] = sum(weight * value[part] for weight, value in zip(weights, values, strict=True))
        result.append(out)
    return result


def reference(
    state: State,
    image: npt.NDArray[np.uint8],
    layers: int,
    heads: int,
    taps: tuple[int, ...],
    outputs: bool = False,
) -> list[Any]:
    """Return global, local and memory features of one image [S, S, 3], each l2-normalised.

    With `outputs`, the memory is the blocks' plain outputs.
    """
    kernel = state["conv1.weight"]  # [W,3,p,p]
    patch = kernel.shape[-1]
    tokens = [state["class_embedding"]]
    for top in range(0, image.shape[0], patch):
        for left in range(0, image.shape[1], patch):
            pixels = (image[top : top + patch, left : left + patch] / 255.0 - np.array(MEAN)) / np.array(STD)
            tokens.append(np.array([(channel * pixels.transpose(2, 0, 1)).sum() for channel in kernel]))
    tokens = [token + place for token, place in zip(tokens, state["positional_embedding"], strict=True)]
    original = [layer_norm(token, state, "ln_pre") for token in tokens]
    local = list(original)
    memories = []
    for index in range(layers):
        block = f"transformer.resblocks.{index}"
        normed = [layer_norm(token, state, f"{block}.ln_1") for token in original]
        mixed = [
            state[f"{block}.attn.in_proj_weight"] @ token + state[f"{block}.attn.in_proj_bias"] for token in normed
        ]
        q, k, v = ([row.reshape(3, -1)[part] for row in mixed] for part in range(3))
        weight, bias = state[f"{block}.attn.out_proj.weight"], state[f"{block}.attn.out_proj.bias"]
        original = [o + weight @ a + bias for o, a in zip(original, attend(q, k, v, heads), strict=True)]
        local = [o + weight @ a + bias for o, a in zip(local, attend(v, v, v, heads), strict=True)]
        attended = original[1:]
        for place, token in enumerate(original):
            hidden = layer_norm(token, state, f"{block}.ln_2")
            hidden = state[f"{block}.mlp.c_fc.weight"] @ hidden + state[f"{block}.mlp.c_fc.bias"]
            hidden = np.array([0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in hidden])
            original[place] = token + state[f"{block}.mlp.c_proj.weight"] @ hidden + state[f"{block}.mlp.c_proj.bias"]
        tapped = original[1:] if outputs else attended
        memories += [[token / np.linalg.norm(token) for token in tapped]] * taps.count(index + 1)
    joint = [layer_norm(token, state, "ln_post") @ state["proj"] for token in [original[0], *local[1:]]]
    joint = [feature / np.linalg.norm(feature) for feature in joint]
    return [joint[0], joint[1:], *memories]


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_tower_equals_the_plain_loops(layers: int) -> None:
    model = small_clip(layers)
    tower = VVTower(model.visual).eval()
    state = {name: tensor.double().numpy() for name, tensor in model.visual.state_dict().items()}
    images = np.random.default_rng(layers).integers(0, 256, (2, 24, 24, 3), np.uint8)
    with torch.no_grad():
        outputs = tower(torch.tensor(images))
    for row, image in enumerate(images):
        for seen, expected in zip(outputs, reference(state, image, layers, 2, tower.taps), strict=True):
            # float32 against float64 over a few blocks; features are unit vectors
            np.testing.assert_allclose(seen[row], np.array(expected), atol=2e-6)


@pytest.mark.parametrize("taps", [None, (2,), (1, 3)])
def test_taps_may_be_the_plain_outputs_of_blocks(taps: tuple[int, ...] | None) -> None:
    model = small_clip(4)
    state = {name: tensor.double().numpy() for name, tensor in model.visual.state_dict().items()}
    image = np.random.default_rng(3).integers(0, 256, (1, 24, 24, 3), np.uint8)
    plain, outputs = (Backbone("tiny", model, taps=taps, tap_outputs=chosen) for chosen in (False, True))
    assert outputs.visual.taps == (taps or tuple(tap - 1 for tap in plain.visual.taps))
    assert outputs.encoder.weights != plain.encoder.weights  # so that no recipe of one fits an engine of the other
    prompted = PromptedTower(outputs.visual)
    with torch.no_grad():
        seen = outputs.visual(torch.tensor(image))
        again = prompted(torch.tensor(image), torch.empty(0, 0, 16), torch.empty(1, 0, 16))
    expected = reference(state, image[0], 4, 2, outputs.visual.taps, outputs=True)
    for ours, theirs, found in zip(seen, again, expected, strict=True):
        np.testing.assert_allclose(ours[0], np.array(found), atol=2e-6)
        np.testing.assert_allclose(theirs[0], np.array(found), atol=2e-6)


def test_pixels_beyond_the_last_patch_are_not_read() -> None:
    """CLIP's own convolution ignores them too, where the side is no multiple of the patch's."""
    larger, fitting = (VVTower(small_clip(2, image_size=size).visual).eval() for size in (29, 24))
    images = torch.randint(0, 256, (2, 29, 29, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for seen, expected in zip(larger(images), fitting(images[:, :24, :24]), strict=True):
            assert torch.equal(seen, expected)


def test_taps_follow_the_depth() -> None:
    assert default_taps(12) == (4, 9)
    assert default_taps(24) == (7, 17)
    assert VVTower(small_clip(1).visual).taps == (1, 1)


@pytest.mark.usefixtures("narrow")
def test_global_is_plain_clips_image_feature() -> None:
    model = open_clip.create_model("ViT-B-32")
    randomise(model, seed=1)
    backbone = Backbone("ViT-B-32", model)
    views = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    pixels = (torch.tensor(views).permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
        :, None, None
    ]
    with torch.no_grad():
        expected = model.encode_image(pixels, normalize=True)
    np.testing.assert_allclose(backbone.encode(views).global_, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"pool_type": "avg"}, "pool otherwise than by class token"),
        ({"attentional_pool": True, "attn_pooler_heads": 2}, "pool otherwise than by class token"),
        ({"qk_norm": True}, "custom attention blocks"),
        ({"image_size": (24, 32)}, "24×32 images: only square ones"),
    ],
)
def test_other_towers_are_refused(vision: dict[str, Any], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        VVTower(small_clip(2, **vision).visual)


def test_layer_scale_is_applied() -> None:
    # A LayerScale of 1 changes nothing; any other must change the features.
    images = torch.tensor(np.random.default_rng(0).integers(0, 256, (1, 24, 24, 3), np.uint8))
    model = small_clip(2, ls_init_value=1.0)
    plain = small_clip(2)
    model.visual.load_state_dict(plain.visual.state_dict(), strict=False)
    for block in model.visual.transformer.resblocks:
        for scale in (block.ls_1, block.ls_2):
            torch.nn.init.ones_(scale.gamma)
    with torch.no_grad():
        same, expected = VVTower(model.visual)(images), VVTower(plain.visual)(images)
        torch.nn.init.constant_(model.visual.transformer.resblocks[0].ls_1.gamma, 0.5)
        other = VVTower(model.visual)(images)
    torch.testing.assert_close(same, expected)
    assert not torch.allclose(other[1], expected[1], atol=1e-3)
