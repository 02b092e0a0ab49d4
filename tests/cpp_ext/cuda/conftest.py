"""Which device a test runs on: its kernels on the CPU, and where there is one, a GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from goodparts import _native

from .devices import Device, OnCpu, OnGpu

SOURCE = Path(__file__).parents[3] / "cpp_ext"


@pytest.fixture(scope="session")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> OnCpu:
    if not shutil.which("g++") or sys.platform != "linux":
        pytest.skip("g++ on Linux is needed to run the kernels on the CPU")
    library = tmp_path_factory.mktemp("on_cpu") / "kernels.so"
    cuda = SOURCE / "cuda"
    kernels = [cuda / name for name in ("bank.cu", "resize.cu", "score.cu", "search.cu")]
    folders = [cuda / "on_cpu", cuda, SOURCE / "include", SOURCE / "src"]
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", *(f"-I{folder}" for folder in folders), "-o", library]
    command += [*("-xc++", *kernels), "-xnone", cuda / "on_cpu" / "exports.cpp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return OnCpu(library)


@pytest.fixture(scope="session")
def on_gpu() -> OnGpu:
    if not _native.cuda.available():
        pytest.skip(_native.cuda.why_not())
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here, and the arrays of these tests are torch's")
    return OnGpu()


@pytest.fixture(scope="session", params=["on_cpu", "on_gpu"])
def device(request: pytest.FixtureRequest) -> Device:
    device: Device = request.getfixturevalue(request.param)
    return device
