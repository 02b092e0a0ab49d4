"""Before a plan is kept, the CUDA kernels' scores are compared with the CPU's. Here the kernels run on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from goodparts.runtime.backends.library import BuildSettings
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import ParityError
from goodparts.runtime.describe import describe_plan
from goodparts.runtime.engine import kernels
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.kernels import TOLERANCES
from goodparts.runtime.engine.plans import Plan, read_plans
from goodparts.runtime.engine.spec import read_spec

import goodparts
from tests.runtime.backends.native_double import CudaOnCpu

BACKEND = "tensorrt"
FOR_TWO_VIEWS = BuildSettings(max_batch=2)


def records(folder: Path) -> list[Plan]:
    found = [plan for _, plan in read_plans(folder, read_spec(folder).graph_id("plain", "fp32"))]
    return [plan for plan in found if isinstance(plan, Plan)]


def test_the_kernels_differences_are_kept_with_the_plan(folder: Path, cuda: CudaOnCpu) -> None:
    plan, _ = build_plan(folder, "fp32", FOR_TWO_VIEWS, BACKEND)
    assert plan.kernels is not None
    assert plan.kernels.version == goodparts.__version__
    differences = plan.kernels.score_differences
    assert differences.keys() == TOLERANCES.keys()
    assert all(0 < differences[precision] <= tolerance for precision, tolerance in TOLERANCES.items())
    worst = max(differences.values())
    assert f"scores of the CUDA kernels differ from the CPU's by at most {worst:.1e}" in describe_plan(plan)
    cuda.calls.clear()
    Engine.open(folder, backend=BACKEND)
    assert not cuda.calls  # they are checked only once


@pytest.mark.parametrize("change", [0.01, np.nan])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_kernels_that_score_wrongly_are_refused(
    folder: Path, cuda: CudaOnCpu, monkeypatch: pytest.MonkeyPatch, precision: Any, change: float
) -> None:
    right = cuda.on_cpu.run_scorer

    def wrong(scorer: Any, features: Any, out: Any) -> None:
        right(scorer, features, out)
        out[1][-1, -1, -1] += change  # a score of the grid

    monkeypatch.setattr(cuda.on_cpu, "run_scorer", wrong)
    monkeypatch.setattr(kernels, "TOLERANCES", {precision: TOLERANCES[precision]})
    with pytest.raises(ParityError, match=rf"kernels' scores on Orin .* differ .* memory in {precision} .* not kept"):
        build_plan(folder, "fp32", FOR_TWO_VIEWS, BACKEND)
    assert not records(folder)


def test_kernels_that_cut_wrongly_are_refused(folder: Path, cuda: CudaOnCpu, monkeypatch: pytest.MonkeyPatch) -> None:
    right = cuda.on_cpu.resize_to

    def wrong(square: Any, *arguments: Any) -> None:
        right(square, *arguments)
        square[-1, -1, -1] ^= 1

    monkeypatch.setattr(cuda.on_cpu, "resize_to", wrong)
    with pytest.raises(ParityError, match="the CUDA kernels cut other pixels on Orin"):
        build_plan(folder, "fp32", FOR_TWO_VIEWS, BACKEND)


def test_other_kernels_are_checked_when_a_plan_is_opened(
    folder: Path, cuda: CudaOnCpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(native, "cuda", lambda: None)
        plan, _ = build_plan(folder, "fp32", FOR_TWO_VIEWS, BACKEND)
        assert plan.kernels is None
    monkeypatch.setattr(kernels, "TOLERANCES", {"int8": TOLERANCES["int8"]})
    for version in ("1.0", "1.1"):
        monkeypatch.setattr(kernels, "__version__", version)
        cuda.calls.clear()
        for _ in range(2):
            Engine.open(folder, backend=BACKEND)
        (plan,) = records(folder)
        assert plan.kernels is not None
        assert plan.kernels.version == version
        assert cuda.calls.count("score") == 2  # one picture, then two; at the second opening nothing is checked


def test_bf16_is_not_checked_on_a_gpu_without_it(
    folder: Path, cuda: CudaOnCpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "TOLERANCES", {"bf16": TOLERANCES["bf16"]})
    cuda.machine.capability = (7, 5)
    plan, _ = build_plan(folder, "fp32", FOR_TWO_VIEWS, BACKEND)
    assert plan.kernels is not None
    assert not plan.kernels.score_differences
