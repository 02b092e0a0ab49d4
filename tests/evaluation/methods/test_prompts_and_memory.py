"""Methods of prompts and memory through the runtime's scorer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.evaluation.encoded_photos import EncodedPhotos, Photos
from goodparts.evaluation.methods.method import LearnedPrompts, PromptTask, TrainingData
from goodparts.evaluation.methods.table import GROUPS, METHODS, find_method
from goodparts.runtime import Engine
from goodparts.runtime.core.scoring import fuse, memory_scores, prompt_scores
from goodparts.trainer.clip.backbone import Backbone


def cannot_learn(task: PromptTask) -> LearnedPrompts:
    raise AssertionError(f"prompts of {task.text} are not learned yet")


@pytest.mark.usefixtures("few_steps")
def test_rows_score_by_the_definitions_of_their_branches(ring: Path, small: Backbone, engine_folder: Path) -> None:
    engine = Engine.open(engine_folder)
    photos = Photos(small.encoder.image_size)
    encoded = EncodedPhotos(engine.backend, engine.encode, photos)
    good, tests = sorted((ring / "good").iterdir()), sorted((ring / "bad").iterdir())
    features, tested = encoded.features(good), encoded.features(tests)
    large = photos.views(good).repeat(2, axis=1).repeat(2, axis=2)
    task = PromptTask(
        lambda: small, lambda: features, "ring", "bottle", 0, large_shots=lambda _: {"bottle": ("ring", large)}
    )
    data = TrainingData(features, photos.views(good), encoded.encode, task)
    banks = tuple(part.reshape(-1, part.shape[-1]).astype(np.float16).astype(np.float32) for part in features.memory)
    distance = memory_scores(tested.memory, banks)
    for name in GROUPS["exportable"]:
        row = METHODS[name]
        image, grid = row.fit(data).score(tested)
        assert grid.shape == (len(tests), *engine.encoder.grid)
        if row.prompts is None:
            expected = {"memory": (distance.max(axis=1), distance)}.get(name)
        else:
            prompts = task.prompts(row.prompts, cannot_learn)
            of_image = prompt_scores(tested.global_, prompts.image, 4.6052)
            of_patches = prompt_scores(tested.local, prompts.pixel, 4.6052)
            expected = {
                "promptad-prompt": (of_image, of_patches),
                "promptad-sc": (of_image, of_patches),
                "coop": (of_image, of_patches),
                "vvclip": (of_image, of_patches),
                "promptad-paper": (fuse(of_image, distance.max(axis=1)), fuse(of_patches, distance)),
            }.get(name)
        if expected is not None:
            np.testing.assert_allclose(image, expected[0], atol=1e-5)
            np.testing.assert_allclose(grid.reshape(len(tests), -1), expected[1], atol=1e-5)
    turned = encoded.encode(np.ascontiguousarray(np.rot90(photos.views(good), axes=(1, 2))))
    upright, posed = (find_method(name).fit(data).score(turned)[0] for name in ("memory", "memory:poses=true"))
    # The memory is float16, so a patch has a small distance to itself.
    assert posed.max() < 1e-3 < upright.min()
    photos.close()
    encoded.close()
