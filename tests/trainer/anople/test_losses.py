from __future__ import annotations

import pytest
import torch
from goodparts.runtime.core.scoring import prompt_scores
from goodparts.trainer.anople import losses

TARGET = torch.zeros(2, 4, 4, dtype=torch.bool)
TARGET[0, 1:3, 1:3] = True


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_dice_is_zero_for_the_right_map_and_near_one_for_its_opposite() -> None:
    assert losses.dice(TARGET.float(), TARGET).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.dice(1.0 - TARGET.float(), TARGET).item() > 0.8


def test_focal_is_cross_entropy_weighted_by_how_wrong_a_patch_is() -> None:
    logit = torch.tensor([[[2.0, -1.0]]])
    right = torch.sigmoid(torch.tensor([2.0, 1.0]))  # the first is anomalous, the second is not
    expected = ((1 - right) ** 2 * -right.log()).mean()
    found = losses.focal(logit, torch.tensor([[[True, False]]]))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_logits_are_those_of_the_runtimes_prompt_score() -> None:
    features, text = unit(3, 5, 8), unit(2, 8, seed=1)
    found = losses.logits(features, text, 20.0).sigmoid().numpy()
    assert found == pytest.approx(prompt_scores(features.numpy(), text.numpy(), 20.0), abs=1e-6)
    assert torch.allclose(losses.logits(features, text.expand(3, 2, 8), 20.0), losses.logits(features, text, 20.0))


def test_alignment_is_between_zero_and_two_where_the_sum_is_normalised() -> None:
    image, patches = unit(2, 8), unit(2, 4, 4, 8, seed=1)
    same = image[:, None, None].expand(2, 4, 4, 8)
    assert losses.alignment(image, same, TARGET.float()[:1].expand(2, 4, 4), True).item() == pytest.approx(0, abs=1e-6)
    assert 0.0 <= losses.alignment(image, patches, torch.rand(2, 4, 4), True).item() <= 2.0
    assert losses.alignment(image, 9 * same, torch.ones(2, 4, 4), False).item() < -100


def test_alignment_of_no_view_is_zero_and_has_a_gradient() -> None:
    patches = unit(0, 4, 4, 8).requires_grad_()
    loss = losses.alignment(unit(0, 8), patches, torch.rand(0, 4, 4), True)
    assert loss.item() == 0.0
    loss.backward()
