"""The prompted tower, compared with the V-V tower that it runs."""

from __future__ import annotations

import pytest
import torch
from goodparts.trainer.anople.tower import PromptedTower
from torch import Tensor

from tests.conftest import open_vit

LAYERS = 5


def images() -> Tensor:
    return torch.randint(0, 256, (2, 192, 192, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("taps", [(1, 4), (2, LAYERS)])
def test_without_prompts_it_is_the_vv_tower(taps: tuple[int, ...]) -> None:
    tower = open_vit(taps).visual
    with torch.inference_mode():
        seen = PromptedTower(tower)(images(), torch.zeros(0, 1, 128), torch.zeros(2, 0, 128))
        for one, other in zip(seen, tower(images()), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_what_an_untapped_last_block_skips_is_not_needed() -> None:
    """A tapped last block computes everything, an untapped one only what is needed; the other outputs are the same."""
    generator = torch.Generator().manual_seed(1)
    prompts, prefix = (torch.randn(size, generator=generator) for size in ((3, 8, 128), (2, 1, 128)))
    whole, least = (PromptedTower(open_vit(taps).visual) for taps in ((1, LAYERS), (1,)))
    with torch.inference_mode():
        *seen, _ = whole(images(), prompts, prefix)
        expected = least(images(), prompts, prefix)
    for one, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
