"""The C library as CMake builds it, plain and under the address sanitizer: with the runtime where that can be built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cpp_ext.building import build, missing, runtime_options


def _build(folder: Path, *options: str, targets: tuple[str, ...], of_runtime: str) -> Path:
    if not missing():
        options, targets = (*options, *runtime_options(folder)), (*targets, of_runtime)
    build(folder, *options, targets=targets)
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libgoodparts and its examples."""
    return _build(tmp_path_factory.mktemp("built"), targets=("goodparts", "score_a_frame"), of_runtime="inspect")


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fuzz targets."""
    folder = tmp_path_factory.mktemp("sanitized")
    return _build(folder, "-DGOODPARTS_SANITIZE=address,undefined", targets=("fuzz_api",), of_runtime="fuzz_runtime")
