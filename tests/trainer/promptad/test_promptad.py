from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Features
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import PromptLearner, resolve_temperature
from goodparts.trainer.promptad.settings import PROTOCOLS, promptad_settings


@pytest.fixture(scope="module")
def features(small: Backbone, recipe: Recipe) -> Features:
    assert recipe.shots is not None
    return small.encode(recipe.shots)


def test_losses_fall(small: Backbone, features: Features) -> None:
    learner = PromptLearner(small, features, "ring", settings=promptad_settings("clean", steps=10))
    losses = np.array([[loss.contrastive.item() for loss in learner.step()] for _ in range(10)])
    assert (losses[-1] < losses[0]).all()


def test_same_seed_same_prototypes_and_another_seed_others(small: Backbone, features: Features) -> None:
    def learn(seed: int) -> np.ndarray:
        return (
            PromptLearner(small, features, "ring", settings=promptad_settings("clean", steps=2), seed=seed)
            .learn()
            .image
        )

    np.testing.assert_array_equal(learn(1), learn(1))
    assert np.abs(learn(1) - learn(2)).max() > 1e-3


def test_the_learning_rate_follows_a_cosine_to_its_end(small: Backbone, features: Features) -> None:
    learner = PromptLearner(
        small, features, "ring", settings=promptad_settings("clean", steps=4, lr=0.1, final_lr=0.02)
    )
    rates = []
    for _ in range(4):
        rates.append(learner._optimiser.param_groups[0]["lr"])
        learner.step()
    expected = [0.02 + 0.08 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    np.testing.assert_allclose(rates, expected)


def test_the_levels_learn_independently(small: Backbone, features: Features) -> None:
    """What one level learns does not depend on the features that the other learns from."""
    settings = promptad_settings("clean", steps=3, lr=0.1)
    both = PromptLearner(small, features, "ring", settings=settings)
    other = Features(features.global_[::-1] * -1, features.local, features.memory, features.grid)
    changed = PromptLearner(small, other, "ring", settings=settings)
    one, two = both.learn(), changed.learn()
    np.testing.assert_allclose(one.pixel, two.pixel, atol=1e-6)
    assert np.abs(one.image - two.image).max() > 1e-3


def test_protocols_differ_where_the_documentation_lists_it() -> None:
    clean, official = PROTOCOLS["clean"], PROTOCOLS["official"]
    changed = {name for name in clean.__struct_fields__ if getattr(clean, name) != getattr(official, name)}
    assert changed == {
        "suffix_place",
        "pairing",
        "fusion",
        "temperature",
        "margin_distance",
        "margin_axis",
        "image_maximum",
    }
    assert resolve_temperature(clean, math.log(14)) == pytest.approx(math.log(100), abs=1e-4)
    assert resolve_temperature(promptad_settings("clean", temperature="exp"), math.log(100)) == pytest.approx(100)
    assert resolve_temperature(official, math.log(100)) == pytest.approx(4.6052, abs=1e-4)
    assert resolve_temperature(promptad_settings("clean", temperature=7.0), math.log(100)) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is out of range: Expected `int` >= 1"),
        ({"lr": -1.0}, "lr is out of range"),
        ({"pairing": "random"}, "pairing is out of range: Invalid enum value 'random'"),
        ({"momentum": 1.5}, "momentum is out of range"),
        ({"margin": math.nan}, "margin nan: a finite number is needed"),
        ({"lr": math.inf}, "lr inf: a finite number"),
        ({"temperature": -5.0}, "temperature -5.0: a number above 0"),
    ],
)
def test_settings_out_of_range_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        promptad_settings("clean", **change)


def test_diverged_learning_is_an_error(small: Backbone, features: Features) -> None:
    learner = PromptLearner(small, features, "ring", settings=promptad_settings("clean", steps=3, lr=1e30))
    with pytest.raises(SettingsError, match="learning diverged at a learning rate of 1e.30: lower --lr"):
        learner.learn()


def test_learning_needs_at_least_one_anomaly_prompt(small: Backbone, features: Features) -> None:
    with pytest.raises(SettingsError, match="no anomaly prompt is left"):
        PromptLearner(small, features, "ring", (), promptad_settings("clean", learned_suffixes=0))
    PromptLearner(small, features, "ring", (), promptad_settings("clean", steps=1)).learn()
    PromptLearner(small, features, "ring", settings=promptad_settings("clean", steps=1, learned_suffixes=0)).learn()
    official = promptad_settings("official", steps=1, learned_suffixes=0)
    PromptLearner(small, features, "ring", settings=official).learn()


def test_denormals_are_flushed_while_learning_and_only_then(small: Backbone, features: Features) -> None:
    tiny, seen = torch.tensor(1e-40), []

    def watch(steps: range) -> range:
        seen.append(float(tiny * 1))
        return steps[:1]

    PromptLearner(small, features, "ring").learn(watch)
    assert seen == [0.0]
    assert float(tiny * 1) > 0
