"""The devices that a test runs on: the CPU, which emulates the kernels, and a GPU if there is one."""

from __future__ import annotations

import pytest

from goodparts import _native
from tests.cpp_ext.cuda.devices import Device, OnCpu, OnGpu, compile_kernels


@pytest.fixture(scope="session")
def on_cpu() -> OnCpu:
    return OnCpu(compile_kernels())


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
