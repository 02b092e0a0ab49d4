from __future__ import annotations

import math

import pytest
import torch
from goodparts.trainer.promptad import losses
from goodparts.trainer.promptad.prompts import TextFeatures
from torch import Tensor

Z = torch.nn.functional.normalize(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
PROTOTYPES = torch.nn.functional.normalize(torch.randn(2, 4, generator=torch.Generator().manual_seed(1)), dim=-1)


def text(normal: Tensor, manual: Tensor, learned: Tensor) -> TextFeatures:
    return TextFeatures(normal, manual, learned)


def test_contrastive_is_the_normal_prototype_against_every_anomaly_prompt() -> None:
    generator = torch.Generator().manual_seed(2)
    features = text(*(torch.randn(rows, 4, generator=generator) for rows in (2, 3, 2)))
    expected = 0.0
    for z in Z.flatten(0, 1).tolist():
        positive = math.exp(10 * sum(a * b for a, b in zip(z, PROTOTYPES[0].tolist(), strict=True)))
        negatives = 0.0
        for anomalous in features.anomalous.tolist():
            length = math.sqrt(sum(a * a for a in anomalous))
            negatives += math.exp(10 * sum(a * b for a, b in zip(z, anomalous, strict=True)) / length)
        expected -= math.log(positive / (positive + negatives)) / 6
    assert losses.contrastive(Z, features, PROTOTYPES, 10.0).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("distance", ["euclidean", "squared"])
def test_margin_compares_distances_over_the_channels(distance: str) -> None:
    power = 1 if distance == "euclidean" else 2
    hinges = [
        max(0.0, float((z - PROTOTYPES[0]).norm() ** power - (z - PROTOTYPES[1]).norm() ** power + 0.1))
        for z in Z.flatten(0, 1)
    ]
    seen = losses.margin(Z, PROTOTYPES, 0.1, distance, "channels")  # type: ignore[arg-type]
    assert seen.item() == pytest.approx(sum(hinges) / 6, rel=1e-5)


def test_margin_of_the_released_code_sums_over_the_patches() -> None:
    normal = ((Z - PROTOTYPES[0]) ** 2).sum(dim=1)  # [k,D]
    anomalous = ((Z - PROTOTYPES[1]) ** 2).sum(dim=1)
    seen = losses.margin(Z, PROTOTYPES, 0.0, "squared", "second")
    assert seen.item() == pytest.approx(torch.relu(normal - anomalous).mean().item())
    flat = Z[:, 0]  # at image level both axes are the same
    torch.testing.assert_close(
        losses.margin(flat, PROTOTYPES, 0.0, "squared", "second"),
        losses.margin(flat, PROTOTYPES, 0.0, "squared", "channels"),
    )


def test_without_a_margin_the_loss_is_zero() -> None:
    z = 40 * Z  # with unit vectors a margin of −4 leaves no loss
    assert losses.margin(z, PROTOTYPES, -4.0, "squared", "second").item() > 0
    assert losses.margin(z, PROTOTYPES, None, "squared", "second").item() == 0


@pytest.mark.parametrize("distance", ["euclidean", "squared"])
def test_the_margin_has_a_gradient_where_a_feature_is_the_prototype(distance: str) -> None:
    prototypes = PROTOTYPES.clone().requires_grad_()
    margin = losses.margin(PROTOTYPES[None], prototypes, 3.0, distance, "channels")  # type: ignore[arg-type]
    margin.backward()  # type: ignore[no-untyped-call]
    assert prototypes.grad is not None
    assert prototypes.grad.isfinite().all()


def test_alignment_is_zero_for_equal_directions_and_without_either_kind() -> None:
    row = torch.tensor([[3.0, 4.0]])
    assert losses.alignment(text(row, row, 2 * row)).item() == 0
    assert losses.alignment(text(row, row, row[:0])).item() == 0
    opposite = losses.alignment(text(row, row, -row)).item()
    assert opposite == pytest.approx(4.0)
