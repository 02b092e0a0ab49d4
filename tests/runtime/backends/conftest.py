"""An engine to build plans of. It is the tiny ViT's, which has few patches to search, because CUDA is emulated here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from goodparts.runtime.core import native
from goodparts.runtime.recipe.recipe import Recipe

from tests.cpp_ext.cuda.devices import OnCpu, compile_kernels
from tests.runtime.backends.cuda_double import Machine
from tests.runtime.backends.native_double import CudaOnCpu
from tests.runtime.backends.onnxruntime_double import OnnxRuntime, installed


@pytest.fixture(scope="session")
def engine_folder(vit_engine: Path) -> Path:
    return vit_engine


@pytest.fixture(scope="session")
def recipe(vit_recipe: Recipe) -> Recipe:
    return vit_recipe


@pytest.fixture
def folder(engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the engine, and use an empty cache instead of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(engine_folder, tmp_path / "engine"))


@pytest.fixture(scope="session")
def on_cpu() -> OnCpu:
    return OnCpu(compile_kernels())


@pytest.fixture
def runtime() -> Iterator[OnnxRuntime]:
    """Yield a double of CUDA with a double of each inference library."""
    with installed(Machine()) as runtime:
        yield runtime


@pytest.fixture
def cuda(on_cpu: OnCpu, runtime: OnnxRuntime, monkeypatch: pytest.MonkeyPatch) -> CudaOnCpu:
    """Return the CUDA kernels on the CPU, which use the memory of the double of CUDA."""
    double = CudaOnCpu(on_cpu, runtime.machine)
    monkeypatch.setattr(native, "cuda", lambda: double)
    return double
