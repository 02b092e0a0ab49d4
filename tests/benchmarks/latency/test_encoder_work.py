"""How much an encoder computes."""

from __future__ import annotations

from goodparts.benchmarks.backbones import open_backbone
from goodparts.benchmarks.latency.encoder_work import encoder_flops

from tests.conftest import VIT


def test_flops_of_a_tower() -> None:
    tower = open_backbone(VIT).visual
    tokens, width, layers = 145, 128, 5
    block = 2 * tokens * width * 3 * width + 8 * tokens**2 * width + 4 * tokens * width**2 + 16 * tokens * width**2
    ends = 2 * 144 * 3 * 16**2 * width + 2 * tokens * width * 128
    assert encoder_flops(tower, full=True) == layers * block + ends
    saved = (tokens - 1) * (4 * tokens * width + 2 * width**2 + 16 * width**2)
    assert encoder_flops(tower) == layers * block + ends - saved
