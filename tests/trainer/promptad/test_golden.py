"""The official protocol, compared with numbers recorded from the released PromptAD code (fp32, CPU).

The tolerance is at most 1e-4; the values are of order 1 and come from sums of about 100 terms in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from goodparts.runtime.core.scoring import Learned, anomaly_map, score
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.weights import randomise
from goodparts.trainer.promptad.learner import PromptLearner, Prototypes
from goodparts.trainer.promptad.prompts import Prompts
from goodparts.trainer.promptad.settings import promptad_settings
from goodparts.trainer.promptad.suffixes import resolve

DATA = Path(__file__).parents[2] / "data"
GOLDEN = np.load(DATA / "promptad_official_seed0.npz")
# Recorded with the released PromptLearner class and its loss formulas. Two prefixes and four suffixes, which have a
# common divisor (docs/promptad.md, D9), suffixes of two tokens, one shot, and a product of two words.
METAL_NUT = np.load(DATA / "promptad_official_metal_nut.npz")
TASKS = ("cls", "seg")


def small_backbone(seed: int) -> Backbone:
    model = open_clip.CLIP(
        embed_dim=48,
        vision_cfg={"image_size": 64, "patch_size": 16, "width": 128, "head_width": 64, "layers": 12},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
    )
    randomise(model, seed)
    return Backbone("golden", model)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return small_backbone(0)


def starting_prompts(golden: Any) -> tuple[Prompts, Prompts]:
    image, pixel = (
        Prompts(*(torch.tensor(golden[f"{task}.init.{part}_ctx"]) for part in ("normal", "abnormal"))) for task in TASKS
    )
    return image, pixel


def learner(backbone: Backbone) -> PromptLearner:
    chosen, features = promptad_settings("official", steps=10), backbone.encode(GOLDEN["shots"])
    return PromptLearner(backbone, features, "carpet", resolve("carpet"), chosen, initial=starting_prompts(GOLDEN))


@pytest.fixture(scope="module")
def trained(backbone: Backbone) -> tuple[np.ndarray, Prototypes]:
    learning = learner(backbone)
    losses = [
        [[part.item() for part in (loss.contrastive, loss.margin, loss.alignment)] for loss in learning.step()]
        for _ in range(10)
    ]
    return np.array(losses), learning.prototypes()


def test_tower_outputs(backbone: Backbone) -> None:
    features = backbone.encode(GOLDEN["queries"])
    for name, seen in zip(
        ("global", "local", "memory_0", "memory_1"),
        (features.global_, features.local, *features.memory),
        strict=True,
    ):
        np.testing.assert_allclose(seen, GOLDEN[f"queries.{name}"], atol=2e-6, err_msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_text_features_and_gradients_at_the_start(backbone: Backbone, task: str) -> None:
    learning = learner(backbone)
    index = TASKS.index(task)
    text = learning.text_features()[index]
    for kind in ("normal", "manual", "learned"):
        np.testing.assert_allclose(getattr(text, kind).detach(), GOLDEN[f"{task}.text.{kind}"], atol=2e-5, err_msg=kind)
    learning.step()
    prompts = learning.tasks[index]
    for part in ("normal", "abnormal"):
        gradient = getattr(prompts, f"{part}_ctx").grad
        np.testing.assert_allclose(gradient, GOLDEN[f"{task}.grad.{part}_ctx"], atol=1e-5, rtol=1e-4, err_msg=part)


@pytest.mark.parametrize("task", TASKS)
def test_losses_and_prototypes_over_ten_steps(trained: tuple[np.ndarray, Prototypes], task: str) -> None:
    losses, prototypes = trained
    np.testing.assert_allclose(losses[:, TASKS.index(task)], GOLDEN[f"{task}.losses"], atol=2e-5)
    seen = prototypes.image if task == "cls" else prototypes.pixel
    np.testing.assert_allclose(seen, GOLDEN[f"{task}.prototypes"], atol=2e-5)


def test_scores_and_maps(backbone: Backbone, trained: tuple[np.ndarray, Prototypes]) -> None:
    shots, queries = backbone.encode(GOLDEN["shots"]), backbone.encode(GOLDEN["queries"])
    prototypes = trained[1]
    learned = Learned(
        prototypes.image,
        prototypes.pixel,
        tuple(memory.reshape(-1, memory.shape[-1]) for memory in shots.memory),
        temperature=backbone.logit_scale,
        image_maximum="map",
    )
    scores = score(queries, learned)
    np.testing.assert_allclose(scores.branches.image_prompt, GOLDEN["cls.text_score"], atol=1e-5)
    np.testing.assert_allclose(scores.image, GOLDEN["cls.image_score"], atol=1e-5)
    maps = np.stack([anomaly_map(grid) for grid in scores.grid])
    np.testing.assert_allclose(maps[:, ::4, ::4], GOLDEN["seg.map"], atol=1e-5)


def test_another_setting_from_text_to_prototypes() -> None:
    backbone = small_backbone(1)
    counts = {"image_prefixes": 2, "pixel_prefixes": 2, "prefix_length": 3, "learned_suffixes": 4, "suffix_length": 2}
    learning = PromptLearner(
        backbone,
        backbone.encode(METAL_NUT["shots"]),
        "metal nut",
        resolve("metal_nut"),
        promptad_settings("official", steps=10, **counts),
        initial=starting_prompts(METAL_NUT),
    )
    for task, text in zip(TASKS, learning.text_features(), strict=True):
        for kind in ("normal", "manual", "learned"):
            expected = METAL_NUT[f"{task}.text.{kind}"]
            np.testing.assert_allclose(getattr(text, kind).detach(), expected, atol=2e-5, err_msg=f"{task} {kind}")
    losses = []
    for step in range(10):
        losses.append([[part.item() for part in vars(loss).values()] for loss in learning.step()])
        if step == 0:
            for task, prompts in zip(TASKS, learning.tasks, strict=True):
                for part in ("normal_ctx", "abnormal_ctx"):
                    gradient = getattr(prompts, part).grad
                    np.testing.assert_allclose(gradient, METAL_NUT[f"{task}.grad.{part}"], atol=1e-5, rtol=1e-4)
    prototypes = learning.prototypes()
    for index, (task, seen) in enumerate(zip(TASKS, (prototypes.image, prototypes.pixel), strict=True)):
        np.testing.assert_allclose(np.array(losses)[:, index], METAL_NUT[f"{task}.losses"], atol=2e-5)
        np.testing.assert_allclose(seen, METAL_NUT[f"{task}.prototypes"], atol=2e-5)
