"""The C library as CMake builds it, plain and under the address sanitizer, with the runtime if that can be built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cpp_ext.building import build, missing, runtime_options


def _build(name: str, *options: str, targets: tuple[str, ...], of_runtime: str) -> Path:
    if missing():
        return build(name, *options, targets=targets)
    return build(f"{name}-runtime", *options, *runtime_options(), targets=(*targets, of_runtime))


@pytest.fixture(scope="session")
def built() -> Path:
    """Return the folder with libgoodparts and its examples."""
    return _build("plain", targets=("goodparts", "score_a_frame", "check_core"), of_runtime="inspect")


@pytest.fixture(scope="session")
def sanitized() -> Path:
    """Return the folder with the fuzz targets."""
    return _build("address", "-DGOODPARTS_SANITIZE=address,undefined", targets=("fuzz_api",), of_runtime="fuzz_runtime")
