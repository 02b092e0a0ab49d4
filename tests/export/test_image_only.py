"""A backbone without text passes the same steps as other backbones: gate, teach, train, detector, fused file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.export.fused import write_fused
from goodparts.export.train import train
from goodparts.runtime.core.errors import BackboneError, EngineError, SettingsError
from goodparts.runtime.describe import describe_engine
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.engine.text import TEXT_NAME
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.teach import teach
from goodparts.trainer.clip.backbone import Backbone

from goodparts import Detector
from tests.conftest import draw_part


@pytest.fixture(scope="module")
def taught(images_engine: Path, photos: Path) -> Recipe:
    return teach(photos / "good", "ring", engine=Engine.open(images_engine, backend="onnxruntime"))


def test_an_engine_reports_that_it_has_no_text(images_engine: Path) -> None:
    spec = read_spec(images_engine)
    assert [record.backend for record in spec.graph("plain").variants["fp32"].parity] == ["onnxruntime", "openvino"]
    assert not (images_engine / TEXT_NAME).exists()
    assert "timm" in spec.versions
    assert "no text (recipes of the memory only; global and local are image features of width 256)" in "\n".join(
        describe_engine(images_engine, spec)
    )
    with pytest.raises(EngineError, match="has no text features"):
        Engine.open(images_engine).read_text_features()


def test_teaching_and_training_remember_the_same(
    images_engine: Path, images: Backbone, photos: Path, taught: Recipe
) -> None:
    trained = train(photos / "good", "ring", engine=images_engine, backbone=images)
    assert (taught.header.fusion, trained.header.fusion) == ("memory", "memory")
    assert (taught.header.method, trained.header.method) == ("taught", "memory")
    for one, other in zip(taught.banks, trained.banks, strict=True):
        # Rows are kept in float16, 11 bits of each number of at most 1.
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=1e-3)


def test_prompts_are_not_learned(images_engine: Path, images: Backbone, photos: Path) -> None:
    with pytest.raises(SettingsError, match="timm:resnet10t has no text tower, so it learns no prompts"):
        train(photos / "good", "ring", engine=images_engine, backbone=images, method="promptad")
    with pytest.raises(BackboneError, match="AnoPLe needs a CLIP whose image tower is a ViT"):
        train(photos / "good", "ring", engine=images_engine, backbone=images, method="anople")


def test_the_detector_and_the_fused_file_score_the_memory(images_engine: Path, taught: Recipe, tmp_path: Path) -> None:
    detector = Detector(Engine.open(images_engine, backend="onnxruntime"), taught)
    good, bad = (detector.predict(np.asarray(draw_part(7, defect=defect))) for defect in (False, True))
    assert bad.score > 1 > good.score
    taught.save(tmp_path / "ring.safetensors")
    write_fused(images_engine, tmp_path / "ring.safetensors", tmp_path / "ring.onnx")


def test_a_subspace_is_scored_by_the_detector_and_refused_by_the_fused_file(
    images_engine: Path, images: Backbone, photos: Path, tmp_path: Path
) -> None:
    recipe = train(photos / "good", "ring", engine=images_engine, backbone=images, settings={"subspace": True})
    assert recipe.header.fusion == "subspace"
    assert recipe.header.calibration.source == "leave-one-out"
    recipe.save(tmp_path / "ring.safetensors")
    detector = Detector(Engine.open(images_engine, backend="onnxruntime"), tmp_path / "ring.safetensors")
    good, bad = (detector.predict(np.asarray(draw_part(7, defect=defect))) for defect in (False, True))
    assert bad.score > 1 > good.score
    with pytest.raises(SettingsError, match="recipes of a subspace are scored by the runtime in Python only"):
        write_fused(images_engine, tmp_path / "ring.safetensors", tmp_path / "ring.onnx")
