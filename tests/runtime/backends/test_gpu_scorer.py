"""Frames that stay on the GPU, with doubles of CUDA and of the inference library and the real kernels on the CPU."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import pytest
from goodparts.runtime.backends.library import BuildSettings
from goodparts.runtime.backends.session import GraphName
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.core.scorer import Search
from goodparts.runtime.core.view import Box, View, encode_mask
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine import kernels
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.recipe.recipe import Recipe

from tests.conftest import draw_part
from tests.runtime.backends.native_double import CudaOnCpu

BACKENDS = ("onnxruntime-cuda", "tensorrt")


@pytest.fixture(autouse=True)
def _unchecked_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are kept without the check of the kernels, which test_kernel_check.py is about and takes seconds."""
    monkeypatch.setattr(kernels, "TOLERANCES", {})


@pytest.fixture
def folder(engine_folder: Path, tmp_path: Path, cuda: CudaOnCpu) -> Path:
    """An engine with plans for two views at once."""
    folder = Path(shutil.copytree(engine_folder, tmp_path / "engine"))
    for backend in BACKENDS:
        build_plan(folder, "fp32", BuildSettings(max_batch=2), backend)
    cuda.calls.clear()
    return folder


def frames() -> list[Array8]:
    return [load_rgb(draw_part(seed, defect=seed == 4, size=size)) for seed, size in ((1, (320, 240)), (4, (410, 300)))]


def changed(recipe: Recipe, view: View) -> Recipe:
    """With another view, as if it had been learned so, but for its scene."""
    return dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, view=view, scene=msgspec.UNSET))


@pytest.mark.parametrize(
    ("backend", "view", "resized"),
    [
        ("onnxruntime-cuda", View(), 2),
        ("tensorrt", View(roi=Box(40, 20, 200, 180), tiles=(1, 2)), 4),
        ("tensorrt", View(resize="letterbox"), 0),
    ],
)
def test_frames_that_stay_on_the_gpu_score_as_on_the_cpu(
    folder: Path, recipe: Recipe, cuda: CudaOnCpu, backend: str, view: View, resized: int
) -> None:
    product = changed(recipe, view)
    expected = Detector.open(folder, product, backend="onnxruntime").predict_batch(frames())
    seen = Detector.open(folder, product, backend=backend).predict_batch(frames())
    assert cuda.calls.count("resize") == resized
    assert cuda.calls.count("score") == view.count  # two views at once
    for one, other in zip(seen, expected, strict=True):
        np.testing.assert_allclose(one.grids, other.grids, atol=2e-4)  # products of fp16 numbers
        assert one.raw_score == pytest.approx(other.raw_score, abs=2e-4)
        assert set(one.milliseconds) == set(other.milliseconds)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("backend", BACKENDS)
def test_conditions_go_up_once_per_change_of_product(
    prompted_folder: Path, anople_recipe: Recipe, tmp_path: Path, backend: str
) -> None:
    folder = Path(shutil.copytree(prompted_folder, tmp_path / "engine"))
    for name in get_args(GraphName):
        build_plan(folder, "fp32", BuildSettings(max_batch=2), backend, name=name)
    assert anople_recipe.conditions
    doubled = Conditions({name: 2 * tensor for name, tensor in anople_recipe.conditions.tensors.items()})
    engine, cpu = Engine.open(folder, backend=backend), Engine.open(folder, backend="onnxruntime")
    session, up = engine.session_for(doubled), list[int]()
    upload = session.upload  # type: ignore[attr-defined]
    session.upload = lambda host, device: (up.append(host.nbytes), upload(host, device))  # type: ignore[attr-defined]
    size = sum(tensor.nbytes for tensor in doubled.tensors.values())
    views = np.random.default_rng(0).integers(0, 256, (2, 192, 192, 3), np.uint8)
    for conditions in (doubled, anople_recipe.conditions):
        expected = cpu.encode(views, conditions)
        for conditioned in (size, 0):
            seen = engine.encode(views, conditions)
            assert sum(up) == views.nbytes + conditioned
            up.clear()
            np.testing.assert_allclose(seen.local, expected.local, atol=1e-5)
    detector = Detector(engine, dataclasses.replace(anople_recipe, conditions=doubled))
    detector.predict(frames()[0])
    assert sum(up) == frames()[0].nbytes + size


def test_masked_frames_are_cut_by_the_cpu(folder: Path, recipe: Recipe, cuda: CudaOnCpu) -> None:
    mask = np.zeros((240, 320), np.bool_)
    mask[60:200, 60:260] = True
    product = changed(recipe, View(mask=encode_mask(mask)))
    expected = Detector.open(folder, product, backend="onnxruntime").predict(frames()[0])
    seen = Detector.open(folder, product, backend=BACKENDS[0]).predict(frames()[0])
    assert "resize" not in cuda.calls
    np.testing.assert_allclose(seen.grids, expected.grids, atol=2e-4)


def test_views_and_scores_come_back_and_features_do_not(folder: Path, recipe: Recipe, cuda: CudaOnCpu) -> None:
    detector = Detector.open(folder, recipe, backend=BACKENDS[0])
    down: list[int] = []
    session = detector.engine.graphs["plain"]
    download = session.download  # type: ignore[attr-defined]
    session.download = lambda host, device: (down.append(host.nbytes), download(host, device))  # type: ignore[attr-defined]
    detector.predict(frames()[0])
    assert cuda.calls == ["resize", "score"]
    rows, columns = detector.engine.encoder.grid
    views = 3 * detector.engine.encoder.image_size**2
    assert sum(down) == views + 4 * (3 + 4 * rows * columns)  # the scene's; image and grid, and five branches


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("backend", BACKENDS)
def test_another_scene_is_told_as_on_the_cpu(folder: Path, recipe: Recipe, backend: str) -> None:
    detector = Detector.open(folder, recipe, backend=backend)
    good, dark = (seen.scene for seen in detector.predict_batch([frames()[0], frames()[0] // 2]))
    assert good is None
    assert dark is not None
    assert dark.reason == "darker"


@pytest.mark.parametrize("fusion", ["paper", "prompt", "memory"])
def test_every_fusion_is_scored_as_on_the_cpu(folder: Path, recipe: Recipe, cuda: CudaOnCpu, fusion: str) -> None:
    product = dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, fusion=fusion))
    expected = Detector.open(folder, product, backend="onnxruntime").predict(frames()[1])
    seen = Detector.open(folder, product, backend=BACKENDS[0]).predict(frames()[1])
    assert "score" in cuda.calls
    np.testing.assert_allclose(seen.grids, expected.grids, atol=2e-4)


def test_threads_that_share_a_detector_get_their_own_results(folder: Path, recipe: Recipe, cuda: CudaOnCpu) -> None:
    detector = Detector.open(folder, recipe, backend=BACKENDS[1], search=Search(precision="int8"))
    pictures = [load_rgb(draw_part(seed, size=(300 + 7 * seed, 240))) for seed in range(3)]
    alone = [detector.predict(picture).raw_score for picture in pictures]
    assert cuda.calls.count("score") == 3
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda picture: detector.predict(picture).raw_score, pictures))
    assert together == alone
