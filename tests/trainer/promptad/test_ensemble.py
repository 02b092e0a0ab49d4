"""The prompt ensemble and CoOp's prompts, compared with open_clip's own text tower."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from goodparts.evaluation.methods.coop import CoOp
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Features
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.embedded.model import load
from goodparts.trainer.promptad.ensemble import ANOMALOUS, NORMAL, TEMPLATES, compose, encode_texts, ensemble
from goodparts.trainer.promptad.learner import PromptLearner
from goodparts.trainer.promptad.suffixes import GENERIC
from open_clip.tokenizer import SimpleTokenizer


def encode_plainly(texts: list[str]) -> torch.Tensor:
    """Encode texts with open_clip's own text tower, padded to the whole context."""
    tower = load()[0].text.eval()
    tokens = SimpleTokenizer(context_length=tower.context_length)(texts)
    with torch.inference_mode():
        features: torch.Tensor = tower(tokens)
    return features


def test_the_phrases_are_all_there() -> None:
    normal, anomalous = compose("metal nut")
    assert (len(NORMAL), len(ANOMALOUS), len(TEMPLATES)) == (7, 4, 22)
    assert (len(set(normal)), len(set(anomalous))) == (154, 88)
    assert "a close-up photo of the flawless metal nut" in normal
    assert "a photo of a damaged metal nut for visual inspection" in anomalous


def test_texts_of_every_length_are_encoded_as_open_clip_does(small: Backbone) -> None:
    texts = ["gear", "a photo of a damaged gear for visual inspection", "leather", "a dark photo of the gear"]
    np.testing.assert_allclose(encode_texts(small.text, texts), encode_plainly(texts), atol=1e-4)
    with pytest.raises(SettingsError, match="tokens"):
        encode_texts(small.text, ["gear " * 200])


def test_prototypes_are_means_of_directions(small: Backbone) -> None:
    found = ensemble(small.text, "gear")
    for prototype, texts in zip(found.image, compose("gear"), strict=True):
        directions = torch.nn.functional.normalize(encode_plainly(texts), dim=-1).mean(dim=0)
        np.testing.assert_allclose(prototype, directions / directions.norm(), atol=1e-4)
    np.testing.assert_array_equal(found.image, found.pixel)


def test_coop_changes_only_the_normal_prompt(small: Backbone) -> None:
    encoder = small.encoder
    views = np.random.default_rng(0).integers(0, 256, (1, encoder.image_size, encoder.image_size, 3), np.uint8)
    features: Features = small.encode(views)
    learner = CoOp(small, features, "gear")
    before = learner.prototypes()
    for _ in range(3):
        for loss in learner.step():
            assert loss.margin == loss.alignment == 0
    after = learner.prototypes()
    mean = encode_plainly([f"{suffix.format('gear')}." for suffix in GENERIC]).mean(dim=0)
    for level in (after.image, after.pixel):
        np.testing.assert_allclose(level[1], mean / mean.norm(), atol=1e-4)
    assert np.abs(after.image[0] - before.image[0]).max() > 1e-5
    assert isinstance(learner, PromptLearner)
