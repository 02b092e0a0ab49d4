"""WinCLIP's windows and scores against anomalib's, recorded by benchmarks/peers/winclip_numbers.py."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from goodparts.benchmarks.peers.winclip_numbers import CHANNELS, draw_pictures, draw_prototypes
from goodparts.evaluation.methods.method import LearnedPrompts, PromptTask, TrainingData
from goodparts.evaluation.methods.winclip import SIDES, fit_winclip, window_encoder, window_to_patch_scores
from goodparts.runtime.core.scoring import Features, Floats, nearest, prompt_scores
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import Prototypes

THEIRS = np.load(Path(__file__).parents[2] / "data" / "winclip_anomalib.npz")
MULTIPLIER = 1.0 / float(THEIRS["temperature"])


@pytest.fixture(scope="module")
def features(vit: Backbone) -> Features:
    """The features of the query and of two good pictures."""
    return window_encoder(vit).encode(draw_pictures(vit.encoder.image_size))


@pytest.fixture(scope="module")
def prototypes(vit: Backbone) -> Floats:
    return draw_prototypes(vit.encoder.width)


def test_every_window_is_encoded_as_anomalib_does_it(features: Features, prototypes: Floats) -> None:
    np.testing.assert_allclose(features.global_[:1, CHANNELS], THEIRS["image"], atol=1e-5)
    for side, of_windows in zip(SIDES, features.memory[1:], strict=True):
        np.testing.assert_allclose(of_windows[:1, :, CHANNELS], THEIRS[f"windows_{side}"], atol=1e-5)
        scores = prompt_scores(of_windows[:1], prototypes, MULTIPLIER)
        np.testing.assert_allclose(scores, THEIRS[f"window_scores_{side}"], atol=1e-5)


def test_windows_are_remembered_as_anomalib_does_it(features: Features) -> None:
    for side, of_windows in zip(SIDES, features.memory[1:], strict=True):
        bank = of_windows[1:].reshape(-1, of_windows.shape[-1])
        distances = (1.0 - nearest(of_windows[:1], bank)[0]) / 2.0
        found = window_to_patch_scores(distances, features.grid, side).reshape(1, *features.grid)
        np.testing.assert_allclose(found, THEIRS[f"distances_{side}"], atol=1e-5)


def test_zero_shot_scores_are_anomalibs(
    vit: Backbone, features: Features, prototypes: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vit, "logit_scale", math.log(MULTIPLIER))
    task = PromptTask(lambda: vit, lambda: features, "ring", "ring", 0)
    task.prompts("ensemble", lambda _: LearnedPrompts(Prototypes(prototypes, prototypes)))
    data = TrainingData(features, draw_pictures(8), window_encoder(vit).encode, task)
    image, patches = fit_winclip(data, memory=False).score(features[:1])
    np.testing.assert_allclose(image, THEIRS["image_score"], atol=1e-5)
    np.testing.assert_allclose(patches, THEIRS["patch_scores"], atol=1e-5)
