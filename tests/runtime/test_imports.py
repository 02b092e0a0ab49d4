"""The runtime needs only numpy, Pillow, msgspec, safetensors and one inference library."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = (
    "torch",
    "open_clip",
    "onnx",
    "onnxscript",
    "pandas",
    "scipy",
    "tqdm",
    "goodparts.trainer",
    "goodparts.export",
    "goodparts.benchmarks",
    "huggingface_hub",
)

PROGRAM = """
import importlib, pkgutil, sys
import goodparts, goodparts.cli, goodparts.runtime
for module in pkgutil.walk_packages(goodparts.runtime.__path__, "goodparts.runtime."):
    try:
        importlib.import_module(module.name)
    except ImportError as error:  # no machine has every inference library
        assert error.name in {"tensorrt", "cuda", "cuda.bindings", "harvesters"}, error
print(*sorted(sys.modules))
"""


def test_the_runtime_imports_nothing_that_only_training_and_export_need() -> None:
    loaded = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    assert "goodparts.runtime.backends.onnxruntime" in loaded
    assert not set(FORBIDDEN) & set(loaded)


def test_importing_the_runtime_loads_no_inference_library() -> None:
    program = "import sys, goodparts.runtime; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"onnxruntime", "openvino", "tensorrt", "cuda"} & set(loaded)
