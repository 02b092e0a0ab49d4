"""The V-V tower over timm's ViTs: its global feature is the model's own, and V-V attention runs beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from goodparts.trainer.clip.class_token_tower import ClassTokenTower, block_attentions, project_values
from goodparts.trainer.clip.weights import randomise
from open_clip.timm_model import TimmModel
from timm.models.eva import Eva
from torch import nn

SIDE = 56


class Visual(nn.Module):
    """An image tower over a trunk of timm, as open_clip wraps one."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Sequential()
        self.image_size = (SIDE, SIDE)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.head(self.trunk(image))
        return features


def eva(**options: Any) -> Visual:
    shape = {"img_size": SIDE, "patch_size": 14, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 8}
    return Visual(Eva(**shape, global_pool="token", **options))


TOWERS = {
    "EVA-01": lambda: eva(qkv_fused=True, use_post_norm=False, init_values=0.5),
    "EVA-02": lambda: eva(
        qkv_fused=False, swiglu_mlp=True, scale_mlp=True, scale_attn_inner=True, use_rot_pos_emb=True
    ),
    "EVA-02 of the largest size": lambda: eva(qkv_fused=True, use_post_norm=True),
    "a ViT of open_clip": lambda: TimmModel(
        "vit_tiny_patch16_224", embed_dim=8, image_size=224, pool="token", proj=None
    ),
}


@pytest.fixture(params=list(TOWERS))
def visual(request: pytest.FixtureRequest) -> Any:
    tower = TOWERS[request.param]().eval()
    randomise(tower, seed=2)
    return tower


def test_the_global_feature_is_the_models_own(visual: Any) -> None:
    tower = ClassTokenTower(visual)
    image = torch.randint(0, 256, (2, tower.image_size, tower.image_size, 3), dtype=torch.uint8)
    pixels = ((image / 255.0 - tower.mean) / tower.std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found, local, *memory = tower(image)
        expected = torch.nn.functional.normalize(visual(pixels), dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)  # sums in another order
    assert [part.shape[2] for part in memory] == list(tower.tap_widths)
    assert local.shape == (2, tower.grid[0] ** 2, tower.out_width)


def test_both_attentions_agree_where_queries_and_keys_are_values(visual: Any) -> None:
    block = visual.trunk.blocks[0]
    attention = block.attn
    with torch.no_grad():
        if attention.qkv is None:
            for name in ("q_proj", "k_proj"):
                getattr(attention, name).weight.copy_(attention.v_proj.weight)
            attention.q_proj.bias.copy_(attention.v_proj.bias)
            attention.k_proj.bias = attention.v_proj.bias
        else:
            third = attention.qkv.weight.shape[0] // 3
            biases = [bias for bias in (attention.qkv.bias,) if bias is not None]
            for tensor in (attention.qkv.weight, *biases):
                tensor[: 2 * third] = tensor[2 * third :].repeat(2, *[1] * (tensor.ndim - 1))
            if not biases:
                attention.q_bias.copy_(attention.v_bias)
                attention.k_bias.copy_(attention.v_bias)
        tokens = torch.randn(2, 5, block.norm1.weight.shape[0])
        ordinary, local = block_attentions(block, tokens, None)
    torch.testing.assert_close(ordinary, local, rtol=1e-4, atol=1e-5)  # sums in another order
    assert project_values(attention, tokens).shape == tokens.shape
