"""Builds of the C++ code with CMake, for the tests that run the results."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "cpp_ext"
QUICK = "-DCMAKE_CXX_FLAGS_RELEASE=-O0"  # builds fast; the kernels have an option of their own
BUILDS = ROOT / "build" / "tests"
"""The folder of the builds. It is kept from run to run; `make clean` removes it."""
HEADERS = Path(os.environ.get("GOODPARTS_HEADERS", ROOT / "build" / "headers" / "usr"))
"""The folder in which headers.sh puts the headers of ONNX Runtime and nlohmann, for systems without them."""


def build(name: str, *options: str, targets: tuple[str, ...] = ()) -> Path:
    """Build targets and return the folder. The next run uses it again and compiles only what has changed since."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = ["-DGOODPARTS_CUDA=OFF", QUICK, *generator, *options]
    folder = BUILDS / f"{name}-{hashlib.sha256(' '.join(configure).encode()).hexdigest()[:8]}"
    BUILDS.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may build at the same time
        run("cmake", "-S", SOURCE, "-B", folder, *configure)
        run("cmake", "--build", folder, "--parallel", "2", *(part for one in targets for part in ("--target", one)))
    return folder


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def runtime_options() -> list[str]:
    """Return CMake's options for the whole runtime. The library of the Python package gets the name it is loaded by."""
    package = importlib.util.find_spec("onnxruntime")
    assert package is not None
    assert package.origin is not None
    (library,) = Path(package.origin).parent.glob("capi/libonnxruntime.so.*")
    link = BUILDS / library.name / "libonnxruntime.so.1"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(library)
    return ["-DGOODPARTS_RUNTIME=ON", f"-DCMAKE_PREFIX_PATH={HEADERS}", f"-DONNXRuntime_LIBRARY={link}"]


@functools.cache
def missing() -> str:
    """Return the names of what the build of the runtime needs and this system lacks, or an empty text."""
    tools = [tool for tool in ("cmake", "g++") if not shutil.which(tool)]
    places = [HEADERS / "include", Path("/usr/include"), Path("/usr/local/include")]
    headers = {
        "onnxruntime_cxx_api.h": ("", "onnxruntime", "onnxruntime/core/session"),
        "nlohmann/json.hpp": ("",),
        "openssl/evp.h": ("",),
        "png.h": ("",),
    }
    for header, folders in headers.items():
        found = any((place / folder / header).is_file() for place in places for folder in folders)
        tools += [] if found else [header]
    return ", ".join(tools)
