"""Synthetic descriptions and recipes fit real ones."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from goodparts.benchmarks.backbones import describe_encoder, open_backbone
from goodparts.benchmarks.synthetic import make_recipe
from goodparts.runtime import Recipe


@pytest.mark.parametrize("name", ["ViT-tiny", "RN50"])
def test_encoder_from_the_configuration_is_the_models_own(name: str) -> None:
    own = open_backbone(name).encoder
    assert msgspec.structs.replace(describe_encoder(name), weights=own.weights) == own


def test_recipe_is_a_real_one() -> None:
    encoder = describe_encoder("ViT-B-16-plus-240")
    recipe = make_recipe(encoder, "0" * 64, shots=2)
    again = Recipe.from_bytes(recipe.to_bytes())
    assert again.header.encoder == encoder
    assert [bank.shape for bank in again.banks] == [(450, 896), (450, 896)]
    np.testing.assert_allclose(np.linalg.norm(again.learned().banks[0], axis=1), 1.0, atol=1e-3)
