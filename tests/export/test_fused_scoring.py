"""The appended operations without an encoder, on random features, on every backend that runs them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from goodparts.export import fused_scoring as scoring_graph
from goodparts.export.fused_scoring import append_scoring
from goodparts.export.graph import OPSET
from goodparts.runtime.core import scoring
from goodparts.runtime.core.scoring import Features, Floats, anomaly_map, score
from goodparts.runtime.engine.spec import Encoder, Tap
from goodparts.runtime.recipe.recipe import Recipe

ENCODER = Encoder(
    backbone="none", weights="0" * 64, image_size=24, grid=(3, 4), width=16, taps=(Tap(1, 16), Tap(2, 24))
)
BACKENDS = ("onnxruntime", "openvino")


def unit(rng: np.random.Generator, *shape: int) -> Floats:
    rows = rng.standard_normal(shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


@pytest.fixture
def product(recipe: Recipe) -> Recipe:
    """A product for ENCODER with random prototypes, and 30 random rows in each bank with random margins."""
    rng = np.random.default_rng(1)
    return dataclasses.replace(
        recipe,
        header=msgspec.structs.replace(recipe.header, encoder=ENCODER),
        image_prompts=unit(rng, 2, 16),
        pixel_prompts=unit(rng, 2, 16),
        banks=tuple(unit(rng, 30, tap.width).astype(np.float16) for tap in ENCODER.taps),
        shot_of_row=(np.zeros(30, np.int32),) * 2,
        margins=tuple(rng.uniform(-0.5, 0.5, 30).astype(np.float32) for _ in ENCODER.taps),
    )


def changed(recipe: Recipe, **header: Any) -> Recipe:
    return dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, **header))


def features_of(rng: np.random.Generator, views: int = 2) -> Features:
    memory = tuple(unit(rng, views, 12, tap.width) for tap in ENCODER.taps)
    return Features(unit(rng, views, 16), unit(rng, views, 12, 16), memory, ENCODER.grid)


def run(recipe: Recipe, features: Features, backend: str, folder: Path) -> list[Floats]:
    """Return score, grid and map from a graph that has the features as inputs."""
    named = {"global": features.global_, "local": features.local}
    named |= {f"memory_{index}": memory for index, memory in enumerate(features.memory)}
    graph = onnx.GraphProto(name="scoring")
    for name, array in named.items():
        shape = ["batch", *array.shape[1:]]
        graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    append_scoring(graph, recipe)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    path = folder / "scoring.onnx"
    onnx.save(model, str(path))
    found: list[Floats]
    if backend == "onnxruntime":
        import onnxruntime as ort

        found = ort.InferenceSession(str(path)).run(["score", "grid", "map"], named)
        return found
    ov = pytest.importorskip("openvino")
    compiled = ov.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": ov.Type.f32})
    outputs = compiled(named)
    return [outputs[name] for name in ("score", "grid", "map")]


def assert_same(seen: list[Floats], features: Features, recipe: Recipe) -> None:
    wanted = score(features, recipe.learned())
    maps = np.stack([anomaly_map(grid) for grid in wanted.grid])
    for one, other in zip(seen, (wanted.image, wanted.grid, maps), strict=True):
        assert (one.shape, one.dtype) == (other.shape, np.float32)
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fusion", ["paper", "residual", "prompt", "memory"])
@pytest.mark.parametrize("image_maximum", ["grid", "map"])
@pytest.mark.parametrize("temperature", [4.6052, 100.0])
def test_scores_equal_the_definition(
    product: Recipe, backend: str, fusion: str, image_maximum: str, temperature: float, tmp_path: Path
) -> None:
    product = changed(
        product,
        fusion=fusion,
        image_maximum=image_maximum,
        temperature=temperature,
        residual_weight=5.0,  # as for a CLIP
    )
    features = features_of(np.random.default_rng(2), views=3)
    assert_same(run(product, features, backend, tmp_path), features, product)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_image_scores_the_mean_of_the_largest_patches(
    product: Recipe, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (scoring, scoring_graph):
        monkeypatch.setattr(module, "TOP_PART", 4)  # three of the twelve patches
    product = changed(product, fusion="memory", image_maximum="top")
    features = features_of(np.random.default_rng(4), views=3)
    assert_same(run(product, features, backend, tmp_path), features, product)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_large_bank_is_searched_in_parts(
    product: Recipe, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_graph, "ROWS_AT_ONCE", 8)
    product = changed(product, fusion="residual", residual_weight=1.0)
    features = features_of(np.random.default_rng(3))
    assert_same(run(product, features, backend, tmp_path), features, product)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_branches_of_zero_make_zero(product: Recipe, backend: str, tmp_path: Path) -> None:
    banks = tuple(np.eye(tap.width, dtype=np.float16) for tap in ENCODER.taps)
    margins = tuple(np.zeros(len(bank), np.float32) for bank in banks)
    product = dataclasses.replace(changed(product, fusion="paper", temperature=1e9), banks=banks, margins=margins)
    down = product.image_prompts[0] - product.image_prompts[1]
    memory = tuple(np.broadcast_to(np.eye(tap.width, dtype=np.float32)[0], (1, 12, tap.width)) for tap in ENCODER.taps)
    local = product.pixel_prompts[0] - product.pixel_prompts[1]
    features = Features(
        down[None], np.broadcast_to(local, (1, 12, 16)), tuple(map(np.ascontiguousarray, memory)), (3, 4)
    )
    seen = run(product, features, backend, tmp_path)
    assert not any(part.any() for part in seen)
    assert_same(seen, features, product)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fusion", ["paper", "residual"])
def test_nan_stays_nan(product: Recipe, backend: str, fusion: str, tmp_path: Path) -> None:
    """A NaN feature makes every output of its view NaN, and does not change the other view's."""
    product = changed(product, fusion=fusion)
    features = features_of(np.random.default_rng(4))
    for array in (features.global_, features.local, *features.memory):
        array[1] = np.nan
    for part in run(product, features, backend, tmp_path):
        assert np.isfinite(part[0]).all()
        assert np.isnan(part[1]).all()
