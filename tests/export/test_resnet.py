"""A ResNet passes the same steps as a ViT: the gate, the recipe, the detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.export.engines import make_engine
from goodparts.runtime.core.view import View
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.recipe.product import Product
from goodparts.runtime.recipe.shots import load_shots
from goodparts.runtime.recipe.teach import teach_product
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.method import learn_recipe
from goodparts.trainer.promptad.method import PromptAD
from goodparts.trainer.promptad.suffixes import GENERIC

from goodparts import Detector
from tests.trainer.clip.test_resnet_tower import noise, tiny_clip


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return Backbone("tiny ResNet", tiny_clip())


@pytest.fixture(scope="module")
def engine(tiny: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resnet") / "engine"
    make_engine(tiny, folder)
    return folder


def test_both_backends_pass_the_gate(engine: Path) -> None:
    records = read_spec(engine).graph("plain").variants["fp32"].parity
    assert [record.backend for record in records] == ["onnxruntime", "openvino"]
    # The difference is far below the tolerance, because the graph computes the same operations.
    assert all(record.feature_difference < 2e-6 for record in records)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_graph_equals_torch_in_every_batch(tiny: Backbone, engine: Path, backend: str) -> None:
    opened = Engine.open(engine, backend=backend)
    for count in (1, 3):
        seen, expected = opened.encode(noise(count)), tiny.encode(noise(count))
        assert [memory.shape for memory in seen.memory] == [(count, 64, 32), (count, 64, 64)]
        for one, other in zip(
            (seen.global_, seen.local, *seen.memory), (expected.global_, expected.local, *expected.memory), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=2e-6)


def test_a_product_is_learned_and_inspected(tiny: Backbone, engine: Path, photos: Path, tmp_path: Path) -> None:
    shots = load_shots(sorted((photos / "good").iterdir()), View(), [tiny.encoder.image_size])
    method, product = PromptAD.configure("clean", {"steps": 2}), Product("ring", GENERIC, View(), shots)
    learn_recipe(method, tiny, product, read_spec(engine).graph_id("plain", "fp32")).save(tmp_path / "ring.safetensors")
    detector = Detector.open(engine, tmp_path / "ring.safetensors", backend="onnxruntime")
    remembered, bad = (detector.predict(next((photos / kind).iterdir())) for kind in ("good", "bad"))
    assert 0 <= remembered.score < bad.score
    assert bad.grids.shape == (1, 8, 8)


def test_a_product_is_taught_with_another_clip_of_random_weights(engine: Path, photos: Path) -> None:
    opened = Engine.open(engine, backend="onnxruntime")
    shots = load_shots(sorted((photos / "good").iterdir()), View(), [opened.encoder.image_size])
    recipe = teach_product(opened, Product("ring", (), View(), shots))
    detector = Detector(opened, recipe)
    remembered, bad = (detector.predict(next((photos / kind).iterdir())) for kind in ("good", "bad"))
    assert 0 <= remembered.score < bad.score
