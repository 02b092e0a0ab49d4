"""The C++ core as a C library that CMake builds: its example, and its fuzz target under the sanitizers."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest
from PIL import Image

import goodparts
from tests.cpp_ext.building import build, run

needs_cmake = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("g++")), reason="CMake and g++ are needed to build the C library"
)
CROSS = {"compiler": "aarch64-linux-gnu-g++", "emulator": "qemu-aarch64"}


def pillows_hash() -> int:
    """Return the hash of the picture that check_core resizes, resized by Pillow."""

    def drawn(count: int) -> bytes:
        state, values = 7, bytearray(count)
        for at in range(count):
            state = (state * 1664525 + 1013904223) % 2**32
            values[at] = state >> 24
        return bytes(values)

    picture = Image.frombytes("RGB", (300, 200), drawn(300 * 200 * 3)).resize((96, 64), Image.Resampling.BICUBIC)
    value = 2166136261
    for byte in picture.tobytes():
        value = (value ^ byte) * 16777619 % 2**32
    return value


@needs_cmake
def test_the_example_in_c(built: Path) -> None:
    lines = run(built / "score_a_frame").splitlines()
    assert lines[0].startswith(f"goodparts {goodparts.__version__}, C API 3, ")
    assert lines[1].endswith("memory 0.000000")
    assert lines[2] == "refused: box is 480×480 at (600,0): at least 1×1 inside the frame of 640×480 is accepted"


@needs_cmake
def test_the_c_api_agrees_with_plain_loops_and_survives_a_lack_of_memory(built: Path) -> None:
    assert run(built / "check_core").splitlines()[-1] == f"resize {pillows_hash():08x}"


@needs_cmake
def test_nothing_crashes_under_the_address_sanitizer(sanitized: Path) -> None:
    assert run(sanitized / "fuzz_api", "1000").startswith("1000 runs")


@needs_cmake
def test_nothing_races_under_the_thread_sanitizer() -> None:
    threads = build("thread", "-DGOODPARTS_SANITIZE=thread", targets=("fuzz_api",))
    assert run(threads / "fuzz_api", "1000").startswith("1000 runs")


@needs_cmake
@pytest.mark.skipif(
    platform.machine() != "x86_64" or not all(map(shutil.which, CROSS.values())),
    reason=f"{' and '.join(CROSS.values())} are needed to build for aarch64 and run it",
)
def test_aarch64() -> None:
    compiler = CROSS["compiler"]
    made = build(
        "aarch64",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={compiler}",
        f"-DCMAKE_C_COMPILER={compiler.replace('g++', 'gcc')}",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
        "-DBUILD_SHARED_LIBS=OFF",
        targets=("fuzz_api", "check_core"),
    )
    assert run(CROSS["emulator"], made / "fuzz_api", "300").startswith("300 runs")
    assert run(CROSS["emulator"], made / "check_core").splitlines()[-1] == f"resize {pillows_hash():08x}"
