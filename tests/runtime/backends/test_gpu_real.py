"""The GPU backends with the real libraries. Each test is skipped, with the reason, if its library or GPU is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.backends.gpu_scorer import GpuScorer
from goodparts.runtime.backends.library import BuildSettings, Library
from goodparts.runtime.backends.registry import AUTO, BACKENDS, open_library
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import BackendError, EngineError
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.recipe.recipe import Recipe


@pytest.fixture(scope="module", params=[name for name in BACKENDS if name not in AUTO])
def library(request: pytest.FixtureRequest) -> Library:
    try:
        library = open_library(request.param)
        library.device()
    except BackendError as error:
        pytest.skip(str(error))
    return library


def settings(library: Library, **wanted: int) -> BuildSettings:
    known = {name: value for name, value in wanted.items() if name in library.settings}
    return BuildSettings(**known)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def built(library: Library, engine_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an engine with a plan in fp32."""
    folder = Path(shutil.copytree(engine_folder, tmp_path_factory.mktemp(library.backend) / "engine"))
    build_plan(folder, "fp32", settings(library, max_batch=4, level=1), library.backend)
    return folder


@pytest.mark.parametrize("batch", [1, 2, 4, 9])
def test_features_equal_the_graphs(library: Library, built: Path, batch: int) -> None:
    views = np.random.default_rng(batch).integers(0, 256, (batch, 192, 192, 3), np.uint8)
    engine = Engine.open(built, backend=library.backend)
    expected = Engine.open(built).encode(views)
    for _ in range(3):  # recorded, then replayed
        seen = engine.encode(views)
        for one, two in zip(
            (seen.global_, seen.local, *seen.memory), (expected.global_, expected.local, *expected.memory), strict=True
        ):
            np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_every_precision_of_the_engine_passes_the_gate(library: Library, built: Path, precision: Precision) -> None:
    if precision not in read_spec(built).graph("plain").variants:
        pytest.skip(f"this engine has no {precision}")
    plan, _ = build_plan(built, precision, settings(library, max_batch=2, level=1), library.backend)
    assert plan.parity is not None


def test_parts_are_judged_as_on_the_cpu(library: Library, built: Path, recipe: Recipe, photos: Path) -> None:
    """If the CUDA kernels are installed too, frames stay on the GPU."""
    pictures = sorted(photos.rglob("*.png"))
    seen = Detector.open(built, recipe, backend=library.backend)
    expected = Detector.open(built, recipe).predict_batch(pictures)
    for one, other in zip(seen.predict_batch(pictures), expected, strict=True):
        assert one.verdict == other.verdict
        np.testing.assert_allclose(one.grids, other.grids, atol=1e-3)
    on_gpu = native.cuda() is not None and "openvino" not in library.backend
    assert isinstance(seen._product.scorer, GpuScorer) == on_gpu


def test_a_plan_too_large_for_the_gpu_gives_one_line(library: Library, built: Path) -> None:
    if "max_batch" not in library.settings:
        pytest.skip(f"{library.title} takes batches of any size")
    with pytest.raises((BackendError, EngineError)) as caught:
        build_plan(built, "fp32", settings(library, max_batch=10**6, level=0), library.backend, replace=True)
    assert "\n" not in str(caught.value)
    assert Engine.open(built, backend=library.backend).backend  # the older plan is still there
