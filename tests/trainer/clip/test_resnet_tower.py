"""The ResNet tower against an independent reference: float64 in numpy, written from the attention's formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import pytest
import torch
from goodparts.runtime.core.errors import BackboneError, SettingsError
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.resnet_tower import ResNetTower, pool
from goodparts.trainer.clip.tower import MEAN, STD
from goodparts.trainer.clip.weights import randomise

Doubles = npt.NDArray[np.float64]
State = dict[str, Doubles]

SIZE, HEADS = 64, 4


def tiny_clip(layers: tuple[int, ...] = (1, 2, 1, 1), size: int = SIZE) -> Any:
    """Return a CLIP with maps of 16, 8, 4 and 2 cells a side for 64 pixels, and of 16, 32, 64 and 128 channels."""
    model = open_clip.CLIP(
        embed_dim=12,
        vision_cfg={"image_size": size, "width": 4, "head_width": 128 // HEADS, "layers": layers},
        text_cfg={"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    )
    randomise(model, seed=3)
    return model.eval()


def noise(count: int, size: int = SIZE) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def convolve(x: Doubles, kernel: Doubles, stride: int = 1) -> Doubles:
    """Convolve [C, h, w] with [D, C, k, k]; zeros around it keep the size."""
    size = kernel.shape[-1]
    edge = size // 2
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge)))
    out = np.zeros((len(kernel), *x.shape[1:]))
    for row in range(size):
        for column in range(size):
            window = padded[:, row : row + x.shape[1], column : column + x.shape[2]]
            out += np.einsum("dc,chw->dhw", kernel[:, :, row, column], window)
    return out[:, ::stride, ::stride]


def batch_norm(x: Doubles, state: State, name: str) -> Doubles:
    weight, bias, mean, variance = (
        state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def halve(x: Doubles) -> Doubles:
    return (x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]) / 4


def bottleneck(x: Doubles, state: State, name: str, first: bool, stride: int) -> Doubles:
    def step(value: Doubles, number: int) -> Doubles:
        return batch_norm(convolve(value, state[f"{name}.conv{number}.weight"]), state, f"{name}.bn{number}")

    inner = np.maximum(step(np.maximum(step(x, 1), 0), 2), 0)
    outer = step(halve(inner) if stride == 2 else inner, 3)
    if first:
        x = halve(x) if stride == 2 else x
        x = batch_norm(convolve(x, state[f"{name}.downsample.0.weight"]), state, f"{name}.downsample.1")
    return np.maximum(x + outer, 0)


def unit(x: Doubles) -> Doubles:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def resize(x: Doubles, side: int) -> Doubles:
    """Resize [C, h, h] bilinearly to [C, side, side]; cells keep their centres, and the edge's values go on outside."""
    last = x.shape[1] - 1
    out = np.zeros((len(x), side, side))
    for row, column in np.ndindex(side, side):
        y, z = (min(max((place + 0.5) * (last + 1) / side - 0.5, 0), last) for place in (row, column))
        for i, j in np.ndindex(x.shape[1:]):
            out[:, row, column] += max(0, 1 - abs(y - i)) * max(0, 1 - abs(z - j)) * x[:, i, j]
    return out


def attend(query: Doubles, keys: list[Doubles], values: list[Doubles], scale: float) -> Doubles:
    weights = np.array([math.exp(scale * (query @ key)) for key in keys])
    return np.asarray(sum(weight * value for weight, value in zip(weights / weights.sum(), values, strict=True)))


def attention_pool(x: Doubles, state: State) -> tuple[Doubles, Doubles]:
    """Return the global feature [D] and the local ones [D, h, h] of a map [C, h, h]."""
    tokens = [x.mean(axis=(1, 2)), *x.reshape(len(x), -1).T] + state["positional_embedding"]
    q, k, v = (
        [state[f"{part}_proj.weight"] @ token + state[f"{part}_proj.bias"] for token in tokens] for part in "qkv"
    )
    width = len(x) // HEADS
    found = []
    for place in range(len(tokens)):
        parts = []
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            values = [row[part] for row in v]
            if place == 0:
                parts.append(attend(q[0][part], [row[part] for row in k], values, width**-0.5))
            else:
                keys = [unit(value) for value in values]
                parts.append(attend(keys[place], keys, values, 8 * width**-0.5))
        found.append(state["c_proj.weight"] @ np.concatenate(parts) + state["c_proj.bias"])
    return found[0], np.array(found[1:]).T.reshape(-1, *x.shape[1:])


def reference(visual: Any, image: npt.NDArray[np.uint8], taps: tuple[int, ...]) -> list[Doubles]:
    """Return global, local and memory features of one image [S, S, 3], each l2-normalised."""
    state = {name: tensor.double().numpy() for name, tensor in visual.state_dict().items()}
    x = ((image / 255.0 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
    for number, stride in ((1, 2), (2, 1), (3, 1)):
        x = np.maximum(batch_norm(convolve(x, state[f"conv{number}.weight"], stride), state, f"bn{number}"), 0)
    x = halve(x)
    maps = {}
    for number in (1, 2, 3, 4):
        for block in range(len(getattr(visual, f"layer{number}"))):
            first = block == 0
            x = bottleneck(x, state, f"layer{number}.{block}", first, stride=2 if first and number > 1 else 1)
        maps[number] = x
    own = {name.removeprefix("attnpool."): value for name, value in state.items() if name.startswith("attnpool.")}
    summary, local = attention_pool(x, own)
    side = maps[taps[0]].shape[1]
    cells = [resize(part, side).reshape(len(part), -1).T for part in (local, *(maps[tap] for tap in taps))]
    return [unit(summary), *(unit(part) for part in cells)]


@pytest.mark.parametrize("taps", [(2, 3), (1, 4), (3,), (4, 4)])
def test_tower_equals_the_formulas(taps: tuple[int, ...]) -> None:
    visual = tiny_clip().visual
    tower = ResNetTower(visual, taps)
    images = noise(2)
    with torch.no_grad():
        outputs = tower(torch.tensor(images))
    for row, image in enumerate(images):
        for seen, expected in zip(outputs, reference(visual, image, taps), strict=True):
            # float32 against float64; features are unit vectors
            np.testing.assert_allclose(seen[row], expected, atol=2e-6)


def test_global_is_plain_clips_image_feature() -> None:
    model = tiny_clip()
    views = noise(2)
    pixels = (torch.tensor(views) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        expected = model.encode_image(pixels.permute(0, 3, 1, 2), normalize=True)
    np.testing.assert_allclose(Backbone("tiny", model).encode(views).global_, expected, atol=2e-6)


def test_every_output_is_on_the_finest_taps_grid() -> None:
    encoder = Backbone("tiny", tiny_clip(size=96)).encoder
    assert (encoder.image_size, encoder.grid, encoder.width) == (96, (12, 12), 12)
    assert [(tap.block, tap.width) for tap in encoder.taps] == [(2, 32), (3, 64)]
    assert Backbone("tiny", tiny_clip(size=96), taps=(3, 4)).encoder.grid == (6, 6)


def test_a_view_is_encoded_alike_in_every_batch() -> None:
    # BatchNorm uses its recorded statistics, not the batch's.
    backbone = Backbone("tiny", tiny_clip())
    views = noise(3)
    alone, together = backbone.encode(views[:1]), backbone.encode(views)
    for one, other in ((alone.global_, together.global_), (alone.local, together.local)):
        np.testing.assert_allclose(one[0], other[0], atol=2e-6)


@pytest.fixture
def attention() -> Any:
    return tiny_clip().visual.attnpool.requires_grad_(False)


CELLS = torch.randn(2, 4, 128, generator=torch.Generator().manual_seed(0))


def test_queries_and_keys_do_not_reach_the_local_features(attention: Any) -> None:
    before = pool(attention, CELLS)
    attention.q_proj.weight.neg_()
    after = pool(attention, CELLS)
    assert not torch.allclose(before[0], after[0], atol=1e-3)
    torch.testing.assert_close(before[1], after[1])


def test_only_the_direction_of_values_decides_the_attention(attention: Any) -> None:
    attention.c_proj.bias.zero_()
    before = pool(attention, CELLS)[1]
    attention.v_proj.weight.mul_(3)
    attention.v_proj.bias.mul_(3)
    torch.testing.assert_close(pool(attention, CELLS)[1], 3 * before)


def test_both_attentions_agree_where_all_cells_are_equal(attention: Any) -> None:
    attention.positional_embedding.zero_()
    summary, local = pool(attention, CELLS[:, :1].expand(-1, 4, -1))
    torch.testing.assert_close(local, summary[:, None].expand_as(local))


def test_other_towers_are_refused() -> None:
    visual = tiny_clip().visual
    with pytest.raises(SettingsError, match="block numbers from 1 to 4 in rising order"):
        ResNetTower(visual, (3, 5))
    visual.attnpool = torch.nn.AdaptiveAvgPool2d(1)
    with pytest.raises(BackboneError, match="ModifiedResNet is not supported without CLIP's attention pool"):
        ResNetTower(visual)
