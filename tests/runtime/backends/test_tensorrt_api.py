"""The doubles contain nothing that the real bindings lack.

The names and parameters of the doubles' members were recorded, with `record` below, from the wheels
tensorrt_cu12_bindings 10.3.0 and tensorrt_cu13_bindings 11.4.0.106. If TensorRT can be imported, it is compared
directly.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.runtime.backends.cuda_double import Machine, cuda_double
from tests.runtime.backends.tensorrt_double import tensorrt_double

RECORDED = Path(__file__).parents[2] / "data" / "tensorrt_api.json"
VERSIONS = list(json.loads(RECORDED.read_text()))

Api = dict[str, dict[str, list[list[str]] | None]]


def record(module: Any, rtx: bool = False) -> Api:
    """Return class → member → the parameter names of each overload, or None for a member that is not a method.

    TensorRT's bindings (pybind11) give their parameters only in docstrings.
    """
    api: Api = {}
    for name, double in classes(tensorrt_double(Machine(same_capability=True), rtx)):
        real = module
        for part in name.split("."):
            real = getattr(real, part, None)
        members: dict[str, list[list[str]] | None] = {}
        for member in public(double):
            if hasattr(real, member):
                attribute = getattr(real, member)
                members[member] = parameters(attribute.__doc__ or "") if callable(attribute) else None
        api[name] = members
    return api


def parameters(text: str) -> list[list[str]]:
    found = re.findall(r"^\s*(?:\d+\. )?\w+\(self: [^,)]*(.*?)\)(?: ->|$)", text, re.MULTILINE)
    return [re.findall(r"(?:^|, )(\w+):", rest) for rest in found]


def classes(module: ModuleType) -> list[tuple[str, type]]:
    found = [(name, value) for name, value in vars(module).items() if isinstance(value, type)]
    logger = next(value for name, value in found if name == "ILogger")
    return [*found, ("ILogger.Severity", logger.Severity)]  # type: ignore[attr-defined]


def public(double: type) -> list[str]:
    members = getattr(double, "__members__", None) or {**vars(double), **getattr(double, "__annotations__", {})}
    return sorted(name for name in members if not name.startswith("_") and not isinstance(members[name], type))


def check(api: Api, same_capability: bool, rtx: bool = False) -> None:
    for name, double in classes(tensorrt_double(Machine(same_capability=same_capability), rtx)):
        for member in public(double):
            assert member in api[name], f"the real {name} has no {member}"
            overloads = api[name][member]
            function = vars(double).get(member)
            if inspect.isfunction(function):
                assert overloads is not None
                names = list(inspect.signature(function).parameters)[1:]
                assert names in overloads, f"{name}.{member} takes {overloads}, not {names}"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_double_equals_the_recorded_api(version: str) -> None:
    check(json.loads(RECORDED.read_text())[version], same_capability=not version.startswith("10."))


def test_the_double_equals_the_installed_bindings() -> None:
    """This works also with only the bindings' wheel and empty libraries instead of TensorRT's: nothing is called."""
    for name in ("tensorrt", "tensorrt_bindings"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        version = tuple(int(part) for part in module.__version__.split(".")[:2])
        check(record(module), same_capability=version >= (10, 16))
        return
    pytest.skip("TensorRT's Python bindings are not installed")


def test_the_double_equals_the_real_tensorrt_rtx() -> None:
    real = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    check(record(real, rtx=True), same_capability=True, rtx=True)


def test_the_cuda_double_equals_the_installed_bindings() -> None:
    """Names and parameters are compared. cuda-python can be imported without a driver."""
    real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    for name, double in vars(cuda_double(Machine())).items():
        if not name.startswith("cuda"):
            continue
        assert hasattr(real, name), f"cuda-python has no {name}"
        if inspect.isfunction(double):
            signature = re.match(rf"{name}\((.*)\)", getattr(real, name).__doc__)
            assert signature is not None
            seen = [part.split(":")[0].split()[-1] for part in signature[1].split(",") if part.strip()]
            assert seen == list(inspect.signature(double).parameters), name
        elif isinstance(double, type):
            assert set(double.__members__) <= set(getattr(real, name).__members__)  # type: ignore[attr-defined]


def test_cuda_python_reports_errors_as_the_double_does() -> None:
    """Errors are tuples with the error first and None for every value. Here they are read where there is no driver."""
    real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    error, *values = real.cudaGetDeviceProperties(0)
    if error == real.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU")
    assert values == [None]
    assert isinstance(error, real.cudaError_t)
    assert real.cudaGetErrorString(error)[0] == real.cudaError_t.cudaSuccess
    assert isinstance(real.cudaGetErrorString(error)[1], bytes)
    assert isinstance(real.cudaDeviceProp().name, bytes)
    assert int(real.cudaStream_t(7)) == 7
