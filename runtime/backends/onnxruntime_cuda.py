"""ONNX Runtime's CUDA provider, which runs graph files on an NVIDIA GPU.

It has not run on a GPU yet. The tests in tests/runtime/backends use a test double of ONNX Runtime's Python API, and
compare the option names with those in onnxruntime-gpu 1.31.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ..core.errors import BackendError, first_line, install_line
from .cuda import DEVICE, current_gpu, on_gpu
from .gpu_session import GpuSession
from .library import BuildSettings, BuiltPlan, Device, GraphFiles
from .tensors import IMAGE

PROVIDER = "CUDAExecutionProvider"

ARITHMETIC = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "int8, computed in fp32, attention in fp16"}
"""Precision → how the provider's kernels compute. It has no kernels for quantised matrix products."""


class CudaProviderSession(GpuSession):
    """A graph in the CUDA provider, bound to permanent buffers.

    Args:
        graph: The ONNX file.
        max_batch: The most views in one launch.
        description: Library and version, device, precision.

    Raises:
        BackendError: The provider does not support the whole graph, or the GPU has too little memory.
    """

    def __init__(self, graph: Path, max_batch: int, description: str) -> None:
        super().__init__(max_batch)
        self.description = description
        with self._opening():
            session = self._users["session"] = _open(graph, self.stream)
            inputs = {tensor.name: tuple(tensor.shape) for tensor in session.get_inputs()}
            shapes = {IMAGE: inputs.pop(IMAGE)[1:]}
            shapes |= {tensor.name: tuple(tensor.shape[1:]) for tensor in session.get_outputs()}
            self._allocate(shapes, conditions=inputs)

    def _prepare(self, batch: int) -> Callable[[], Any]:
        session = self._users["session"]
        binding, options = session.io_binding(), ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(batch))  # each batch size is a CUDA graph of its own
        views = self.input().first(batch)
        binding.bind_input(IMAGE, "cuda", DEVICE, np.uint8, list(views.shape), views.address)
        for name, (_, array) in self._conditions.items():
            binding.bind_input(name, "cuda", DEVICE, np.float32, list(array.shape), array.address)
        for name, array in self.outputs(batch).items():
            binding.bind_output(name, "cuda", DEVICE, np.float32, list(array.shape), array.address)

        def launch() -> None:
            try:
                session.run_with_iobinding(binding, options)
            except Exception as error:  # ONNX Runtime's own exceptions share no base class
                raise BackendError(_explain(f"cannot run {batch} views", error)) from error

        launch()
        return launch


def _open(graph: Path, stream: int) -> Any:
    """Open a graph in an ONNX Runtime session that runs all of it in the CUDA provider, on this stream."""
    settings = ort.SessionOptions()
    settings.log_severity_level = 4  # errors need not be logged, because they are raised too
    options = {
        "device_id": str(DEVICE),
        "enable_cuda_graph": "1",
        "use_tf32": "0",
        "has_user_compute_stream": "1",
        "user_compute_stream": str(stream),
    }
    try:
        session = ort.InferenceSession(str(graph), settings, providers=[(PROVIDER, options)], enable_fallback=0)
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise BackendError(_explain(f"cannot open {graph.name}", error)) from error
    providers = session.get_providers()
    if providers[:1] != [PROVIDER]:
        raise BackendError(f"ONNX Runtime {ort.__version__} chose {', '.join(providers) or 'nothing'}, not {PROVIDER}")
    return session


def _explain(what: str, error: Exception) -> str:
    reason, advice = first_line(error, "it gave no reason"), ""
    if "memory" in reason.lower():
        advice = ": end other programs that use the GPU, or build with a smaller --max-batch"
    return f"ONNX Runtime {ort.__version__} {what}: {reason}{advice}"


class CudaProvider:
    """The CUDA provider as a library that runs plans (library.Library).

    It builds nothing: its plans hold only how far the graph is from torch on this GPU.

    Raises:
        BackendError: The provider cannot be loaded.
    """

    backend = "onnxruntime-cuda"
    title = "ONNX Runtime"
    version: str = ort.__version__
    settings = frozenset({"max_batch"})

    def __init__(self) -> None:
        load_provider()

    def device(self) -> Device:
        return current_gpu()

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> None:
        """Return None: the provider runs the graph file itself.

        Args:
            graph: Ignored.
            settings: Ignored.
            folder: Ignored.
        """

    def open(
        self,
        graph: GraphFiles,
        plan: BuiltPlan,
        data: bytes | None,  # noqa: ARG002
        threads: int | None,  # noqa: ARG002
    ) -> CudaProviderSession:
        description = f"onnxruntime {self.version} CUDA {plan.device.name} {ARITHMETIC[graph.precision]}"
        with on_gpu():
            return CudaProviderSession(graph.path, plan.max_batch or 1, description)


def load_provider() -> None:
    """Let ONNX Runtime load its CUDA provider.

    ONNX Runtime's own error gives no reason, so the loader's message is looked up. ONNX Runtime must try first: if
    Python loaded the provider before, the provider would not find the functions of ONNX Runtime that it needs.

    Raises:
        BackendError: The provider cannot be loaded. The message is the loader's.
    """
    if PROVIDER not in ort.get_available_providers():
        raise BackendError(
            f"this ONNX Runtime, {ort.__version__}, has no CUDA provider: pip uninstall onnxruntime, which hides "
            f"it, then {install_line('gpu')}"
        )
    ort.set_default_logger_severity(4)
    try:
        if hasattr(ort, "preload_dlls"):  # since 1.21: loads CUDA and cuDNN from NVIDIA's wheels
            with contextlib.redirect_stdout(io.StringIO()):
                ort.preload_dlls()
        ort.OrtValue.ortvalue_from_shape_and_type([1], np.uint8, "cuda", DEVICE)
    except (RuntimeError, OSError) as error:
        raise BackendError(
            f"ONNX Runtime {ort.__version__} cannot load its CUDA provider: {_why_not(error)}: install that library, "
            "or put it on the loader's path (LD_LIBRARY_PATH)"
        ) from error
    finally:
        ort.set_default_logger_severity(2)  # the default: warnings


def _why_not(error: Exception) -> str:
    """Return the loader's message about the provider's file, otherwise ONNX Runtime's error, in one line."""
    name = "onnxruntime_providers_cuda.dll" if sys.platform == "win32" else "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(Path(ort.__file__).parent / "capi" / name))
    except OSError as loader_error:
        error = loader_error
    return first_line(error)


def library(_: str) -> CudaProvider:
    """Return the library of a backend (registry.open_library).

    Args:
        _: The backend's name, which is ignored.
    """
    return CudaProvider()
