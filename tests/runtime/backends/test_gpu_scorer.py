"""Frames that stay on the GPU, with doubles of CUDA and of the inference libraries. The real kernels run on the CPU."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import pytest
from goodparts.runtime.backends.gpu_scorer import GpuScorer
from goodparts.runtime.backends.library import BuildSettings
from goodparts.runtime.backends.session import GraphName
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.core.scorer import Search
from goodparts.runtime.core.view import Box, View, encode_mask
from goodparts.runtime.core.yuv import YuvFormat, YuvFrame
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine import kernels
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.recipe.recipe import Recipe

from tests.conftest import draw_part
from tests.cpp_ext.cuda.test_resize import draw
from tests.runtime.backends.cuda_double import Machine
from tests.runtime.backends.native_double import CudaOnCpu
from tests.runtime.backends.onnxruntime_double import OnnxRuntime, installed

BACKENDS = ("onnxruntime-cuda", "tensorrt")


@pytest.fixture(autouse=True)
def _unchecked_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep plans without the check of the kernels, which takes seconds and is tested in test_kernel_check.py."""
    monkeypatch.setattr(kernels, "TOLERANCES", {})


@pytest.fixture(scope="module")
def folder(engine_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an engine with plans for two views at once."""
    folder = Path(shutil.copytree(engine_folder, tmp_path_factory.mktemp("gpu_scorer") / "engine"))
    with installed(Machine()):
        for backend in BACKENDS:
            build_plan(folder, "fp32", BuildSettings(max_batch=2), backend)
    return folder


def frames() -> list[Array8]:
    return [load_rgb(draw_part(seed, defect=seed == 4, size=size)) for seed, size in ((1, (320, 240)), (4, (410, 300)))]


def changed(recipe: Recipe, view: View) -> Recipe:
    """Return the recipe as if it had been learned with another view, but without a scene."""
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
def test_conditions_are_uploaded_once_per_change_of_product(
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


def counted(cuda: CudaOnCpu) -> Counter[str]:
    """Return the numbers of CUDA calls by Python and by the device code since the last call of this function."""
    seen, device = Counter(cuda.machine.asked), cuda.on_cpu.counts
    cuda.machine.asked.clear()
    seen.update({"allocate": sum(device.allocations), "free": device.frees, "wait": device.waits})
    seen.update({"bytes up": device.up, "bytes down": device.down})
    return +seen


@pytest.mark.parametrize(
    ("backend", "view"),
    [
        ("onnxruntime-cuda", View()),
        ("tensorrt", View(roi=Box(10, 30, 220, 200), tiles=(1, 3))),  # two passes
    ],
)
def test_a_frame_costs_one_upload_of_its_region_and_one_download(
    folder: Path, recipe: Recipe, cuda: CudaOnCpu, backend: str, view: View
) -> None:
    detector = Detector.open(folder, changed(recipe, view), backend=backend)
    frame = frames()[0]
    detector.predict(frame)
    cuda.machine.launches = 0
    counted(cuda)
    detector.predict(frame.copy())
    region, (rows, columns) = view.region(*frame.shape[:2]), detector.engine.encoder.grid
    assert counted(cuda) == {
        "upload": 1, "bytes up": 3 * region.width * region.height,
        "download": 1, "bytes down": 4 * (3 + 4 * rows * columns) * view.count,  # image, grid and five branches
        "wait": 2 if backend == "onnxruntime-cuda" else 1,  # ONNX Runtime waits for its run
    }  # fmt: skip
    assert cuda.machine.captures_ended == 0


@pytest.mark.parametrize("form", get_args(YuvFormat))
def test_yuv_frames_are_uploaded_without_conversion(
    folder: Path, recipe: Recipe, cuda: CudaOnCpu, form: YuvFormat
) -> None:
    product = changed(recipe, View(roi=Box(41, 21, 201, 181)))
    frame = YuvFrame(draw(np.random.default_rng(0), 240, 320, form), form)
    detector = Detector.open(folder, product, backend=BACKENDS[1])
    cuda.machine.asked.clear()
    seen = detector.predict(frame)
    width, height = 202, 182  # whole pairs of pixels
    assert cuda.machine.asked["bytes up"] == (2 if form == "yuyv" else 1.5) * width * height
    expected = Detector.open(folder, product, backend="onnxruntime").predict(frame)
    np.testing.assert_allclose(seen.grids, expected.grids, atol=2e-4)


def test_the_scenes_views_come_back_with_the_scores(folder: Path, recipe: Recipe, cuda: CudaOnCpu) -> None:
    detector = Detector.open(folder, recipe, backend=BACKENDS[0])
    scorer, pictures = detector._product.scorer, [*frames(), frames()[0]]  # in two passes
    assert isinstance(scorer, GpuScorer)
    counted(cuda)
    _, views, spans = scorer(pictures)
    counts, size, (rows, columns) = counted(cuda), detector.engine.encoder.image_size, detector.engine.encoder.grid
    assert counts["download"] == 1
    assert counts["bytes down"] == (4 * (3 + 4 * rows * columns) + 3 * size**2) * len(pictures)
    np.testing.assert_array_equal(views, np.concatenate([View().cut(picture, size) for picture in pictures]))
    assert len(spans) == 3
    assert min(spans) >= 0


def test_views_that_the_cpu_cut_do_not_come_back(folder: Path, recipe: Recipe, cuda: CudaOnCpu) -> None:
    product = dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, view=View(resize="letterbox")))
    detector = Detector.open(folder, product, backend=BACKENDS[0])
    rows, columns = detector.engine.encoder.grid
    counted(cuda)
    detector.predict(frames()[0])
    assert counted(cuda)["bytes down"] == 4 * (3 + 4 * rows * columns)


def test_the_batches_of_a_frame_are_prepared_with_the_product(folder: Path, recipe: Recipe, cuda: CudaOnCpu) -> None:
    detector = Detector.open(folder, changed(recipe, View()), backend="tensorrt")
    detector.use(changed(recipe, View(tiles=(1, 3))))  # two views and one
    runs = cuda.machine.calls
    detector.predict(frames()[0])
    assert cuda.machine.calls == runs, "no batch size is new to a frame"
    assert cuda.machine.launches == 2


@pytest.mark.usefixtures("cuda")
def test_no_scorer_for_the_cpu_is_made(folder: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goodparts.runtime.detector.Scorer", None)
    Detector.open(folder, recipe, backend=BACKENDS[0]).predict(frames()[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thread_with_another_gpu_of_its_own_uses_this_one(
    folder: Path, recipe: Recipe, cuda: CudaOnCpu, backend: str
) -> None:
    cuda.machine.threads.device = 1
    Detector.open(folder, recipe, backend=backend).predict(frames()[0])
    assert cuda.machine.foreign == 0
    assert cuda.machine.threads.device == 1


def test_a_product_is_changed_while_another_thread_captures(
    folder: Path, recipe: Recipe, cuda: CudaOnCpu, runtime: OnnxRuntime
) -> None:
    """ONNX Runtime captures for the whole process: a plain allocation elsewhere would fail, and end the capture."""
    busy, detector = (Detector.open(folder, recipe, backend=BACKENDS[0]) for _ in range(2))

    def elsewhere() -> None:
        runtime.on_capture = lambda: None
        with ThreadPoolExecutor(1) as pool:
            pool.submit(detector.use, changed(recipe, View())).result()
            pool.submit(detector.predict, frames()[1]).result()
            pool.submit(Detector.open, folder, recipe, backend=BACKENDS[1]).result()

    runtime.on_capture = elsewhere
    counted(cuda)
    busy.predict_batch(frames())  # the first run of two views at once
    assert counted(cuda)["allocate"] > 0
    assert cuda.machine.captures_ended == 0


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("backend", BACKENDS)
def test_another_scene_is_reported_as_on_the_cpu(folder: Path, recipe: Recipe, backend: str) -> None:
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
