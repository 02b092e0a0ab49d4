"""ONNX Runtime on an NVIDIA GPU: its CUDA provider, which runs graphs, and its TensorRT provider, which runs what
`goodparts build` made, an ONNX file with the compiled engine in it (EP context).

Not run on a GPU yet: tests/runtime/backends drives it through a double of ONNX Runtime's Python API; its options are
held to the names in onnxruntime-gpu 1.31.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import _pybind_state as pybind

from ..core.errors import BackendError, first_line, install_line
from .cuda import DEVICE, current_gpu
from .gpu_session import INPUT, GpuSession
from .library import Built, Device, GraphFiles

if TYPE_CHECKING:
    from .library import BuildSettings

ARITHMETIC = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "int8, computed in fp32"}
"""Precision → what the CUDA provider's kernels do: of quantised products it has none."""

Options = dict[str, str]


class OnnxRuntimeGpuSession(GpuSession):
    """A model in one of the GPU's providers, bound to buffers that stay where they are."""

    def __init__(
        self, model: Path | bytes, provider: str, options: Mapping[str, str], max_batch: int, description: str,
    ) -> None:  # fmt: skip
        """Raises BackendError where the provider does not take the whole model or the GPU has too little memory."""
        super().__init__(max_batch)
        self.description = description
        with self._opening():
            stream = {"has_user_compute_stream": "1", "user_compute_stream": str(self.stream)}
            session = make_session(model, provider, {**options, **stream})
            self._users["session"] = session
            image, *conditions = sorted(session.get_inputs(), key=lambda tensor: tensor.name != INPUT)
            self._allocate(
                {tensor.name: tuple(tensor.shape[1:]) for tensor in (image, *session.get_outputs())},
                {tensor.name: tuple(tensor.shape) for tensor in conditions},
            )

    def _prepare(self, batch: int) -> Callable[[], Any]:
        session = self._users["session"]
        binding, options = session.io_binding(), ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(batch))  # each batch size is a CUDA graph of its own
        for name, (host, array) in self._arrays.items():
            bind = binding.bind_input if name == INPUT else binding.bind_output
            bind(name, "cuda", DEVICE, host.dtype.type, [batch, *array.shape[1:]], array.address)
        for name, (host, array) in self._conditions.items():
            binding.bind_input(name, "cuda", DEVICE, host.dtype.type, list(array.shape), array.address)

        def launch() -> None:
            try:
                session.run_with_iobinding(binding, options)
            except Exception as error:  # ONNX Runtime's own exceptions share no base class
                raise BackendError(_explain(f"cannot run {batch} views", error)) from error

        launch()
        return launch


def make_session(model: Path | bytes, provider: str, options: Mapping[str, str]) -> Any:
    """An ONNX Runtime session whose work all lies in one provider."""
    settings = ort.SessionOptions()
    settings.log_severity_level = 4  # what it logs it also raises
    if provider == "TensorrtExecutionProvider":
        # The CUDA provider leaves the arithmetic of shapes to the CPU; its own check for CUDA graphs is the right one.
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    source = str(model) if isinstance(model, Path) else model
    what = f"cannot open {model.name if isinstance(model, Path) else 'the plan'}"
    try:
        session = ort.InferenceSession(source, settings, providers=[(provider, dict(options))], enable_fallback=0)
    except Exception as error:  # see above
        raise BackendError(_explain(what, error)) from error
    used = session.get_providers()
    if used[:1] != [provider]:
        raise BackendError(f"ONNX Runtime {ort.__version__} chose {', '.join(used) or 'nothing'}, not {provider}")
    return session


def _explain(what: str, error: Exception) -> str:
    reason, advice = first_line(error, "it gave no reason"), ""
    if "memory" in reason.lower():
        advice = ": end what else uses the GPU, or build with a smaller --max-batch"
    return f"ONNX Runtime {ort.__version__} {what}: {reason}{advice}"


class CudaProvider:
    """The CUDA provider (plans.Library): nothing is compiled, the graph is held to torch on this GPU."""

    backend = "onnxruntime-cuda"
    title = "ONNX Runtime"
    version: str = ort.__version__
    settings = frozenset({"max_batch"})

    def __init__(self) -> None:
        load_provider("CUDA", "cuda", lambda: ort.OrtValue.ortvalue_from_shape_and_type([1], np.uint8, "cuda", DEVICE))

    def device(self) -> Device:
        return current_gpu()

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> None:
        """Nothing."""

    def open(self, graph: GraphFiles, plan: Built, data: bytes | None, threads: int | None) -> OnnxRuntimeGpuSession:  # noqa: ARG002
        description = f"onnxruntime {self.version} CUDA {plan.device.name} {ARITHMETIC[graph.precision]}"
        options = {"device_id": str(DEVICE), "enable_cuda_graph": "1", "use_tf32": "0"}
        return OnnxRuntimeGpuSession(graph.path, "CUDAExecutionProvider", options, plan.max_batch or 1, description)


class TensorRtProvider:
    """The TensorRT provider (plans.Library). With its precision flags unset networks are strongly typed.

    TF32 cannot be turned off by an option: an fp32 plan passes only where NVIDIA_TF32_OVERRIDE=0 is in the environment.
    """

    backend = "onnxruntime-tensorrt"
    title = "ONNX Runtime with TensorRT"
    settings = frozenset({"max_batch", "opt_batch", "hardware", "level", "workspace"})

    def __init__(self) -> None:
        library = load_provider(
            "Tensorrt", "tensorrt", lambda: pybind.register_tensorrt_plugins_as_custom_ops(ort.SessionOptions(), {})
        )
        self.version = f"{ort.__version__} and {_tensorrt_version(library)}"

    def device(self) -> Device:
        return current_gpu()

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> bytes:
        if settings.hardware == "same-capability":
            raise BackendError(f"{self.title} has no --hardware same-capability: choose from same, ampere-plus")
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = Path(place) / "context.onnx"
            make_session(graph.path, "TensorrtExecutionProvider", build_options(graph, settings, folder, made))
            if not made.is_file():
                raise BackendError(f"{self.title} {self.version} made no plan of {graph.path}: use another backend")
            return made.read_bytes()

    def open(self, graph: GraphFiles, plan: Built, data: bytes | None, threads: int | None) -> OnnxRuntimeGpuSession:  # noqa: ARG002
        assert data is not None
        # It records one CUDA graph and replays it for batches of every size.
        options = {"device_id": str(DEVICE), "trt_cuda_graph_enable": str(int(plan.max_batch == 1))}
        description = f"onnxruntime {self.version} {plan.device.name} {graph.precision}"
        return OnnxRuntimeGpuSession(data, "TensorrtExecutionProvider", options, plan.max_batch or 1, description)


def build_options(graph: GraphFiles, settings: BuildSettings, folder: Path, made: Path) -> Options:
    """What makes the TensorRT provider compile when a session is made, and write an EP-context file."""
    shapes = {"min": 1, "opt": settings.opt_batch, "max": settings.max_batch}
    options = {
        f"trt_profile_{name}_shapes": f"{INPUT}:{batch}x{graph.image_size}x{graph.image_size}x3"
        for name, batch in shapes.items()
    }
    options |= {
        "device_id": str(DEVICE),
        "trt_builder_optimization_level": str(settings.level),
        "trt_engine_hw_compatible": str(int(settings.hardware == "ampere-plus")),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_dump_ep_context_model": "1",
        "trt_ep_context_embed_mode": "1",
        "trt_ep_context_file_path": str(made),
    }
    if settings.workspace is not None:
        options["trt_max_workspace_size"] = str(settings.workspace << 20)
    return options


def load_provider(name: str, short: str, touch: Callable[[], object]) -> ctypes.CDLL:
    """A provider's shared library, which `touch` makes ONNX Runtime load; BackendError with the loader's message.

    ONNX Runtime itself says no more than that it could not, and must be the first to try: a provider that Python
    loaded before would not know its host.
    """
    if f"{name}ExecutionProvider" not in ort.get_available_providers():
        raise BackendError(
            f"this ONNX Runtime, {ort.__version__}, has no {name} provider: pip uninstall onnxruntime, which hides "
            f"it, then {install_line('gpu')}"
        )
    ort.set_default_logger_severity(4)
    try:
        if hasattr(ort, "preload_dlls"):  # 1.21: finds CUDA and cuDNN in NVIDIA's wheels
            with contextlib.redirect_stdout(io.StringIO()):
                ort.preload_dlls()
        touch()
        return ctypes.CDLL(str(provider_file(short)))
    except (RuntimeError, OSError) as error:
        raise BackendError(_why_not(name, short, error)) from error
    finally:
        ort.set_default_logger_severity(2)  # its default: warnings


def _why_not(name: str, short: str, error: Exception) -> str:
    try:
        ctypes.CDLL(str(provider_file(short)))
    except OSError as loader_error:
        error = loader_error
    return (
        f"ONNX Runtime {ort.__version__} cannot load its {name} provider: {first_line(error)}: install that "
        "library, or put it on the loader's path (LD_LIBRARY_PATH)"
    )


def provider_file(short: str) -> Path:
    """The shared library of a provider: "cuda" or "tensorrt"."""
    name = f"onnxruntime_providers_{short}"
    return Path(ort.__file__).parent / "capi" / (f"{name}.dll" if sys.platform == "win32" else f"lib{name}.so")


def _tensorrt_version(library: ctypes.CDLL) -> str:
    """Of the TensorRT that the provider came with; Windows does not look into what a library depends on."""
    try:
        number = int(library.getInferLibVersion())
    except AttributeError:
        return "TensorRT"
    return f"TensorRT {number // 10000}.{number // 100 % 100}.{number % 100}"


def library(backend: str) -> CudaProvider | TensorRtProvider:
    """See plans.Library."""
    return CudaProvider() if backend == CudaProvider.backend else TensorRtProvider()
