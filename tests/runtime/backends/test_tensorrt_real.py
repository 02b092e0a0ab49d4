"""The TensorRT backend on the real library; skipped, with the reason, where it or a GPU is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.compile import BuildSettings, compile_plan
from goodparts.runtime.engine import Engine, read_spec
from goodparts.runtime.errors import BackendError, EngineError
from goodparts.runtime.plans import library


@pytest.fixture(scope="module")
def built(engine_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine with a plan for every precision."""
    try:
        library("tensorrt").device()
    except BackendError as error:
        pytest.skip(str(error))
    folder = Path(shutil.copytree(engine_folder, tmp_path_factory.mktemp("real") / "engine"))
    for precision in read_spec(folder).variants:
        compile_plan(folder, precision, BuildSettings(max_batch=4, level=1), "tensorrt")
    return folder


@pytest.mark.parametrize("batch", [1, 2, 4, 9])
def test_features_are_the_graphs(built: Path, batch: int) -> None:
    views = np.random.default_rng(batch).integers(0, 256, (batch, 192, 192, 3), np.uint8)
    engine = Engine.open(built, backend="tensorrt")
    expected = Engine.open(built).encode(views)
    for _ in range(3):  # recorded, then replayed
        seen = engine.encode(views)
        for one, two in zip(
            (seen.global_, seen.local, *seen.memory), (expected.global_, expected.local, *expected.memory), strict=True
        ):
            np.testing.assert_allclose(one, two, atol=1e-4)


def test_a_plan_too_large_for_the_gpu_is_one_line(built: Path) -> None:
    with pytest.raises((BackendError, EngineError)) as caught:
        compile_plan(built, "fp32", BuildSettings(max_batch=10**6, level=0), "tensorrt", replace=True)
    assert "\n" not in str(caught.value)
    assert Engine.open(built, backend="tensorrt").backend  # the plan that was there still is
