"""OpenVINO on the CPU or an Intel GPU.

By default OpenVINO runs an fp32 graph in bf16 on processors that support it, and in fp16 on a GPU. So the precision is
always set explicitly, and read back.

Its plans hold no weights; the weights stay in the engine's file.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino as ov

from ..core.conditions import Conditions
from ..core.errors import BackendError
from ..core.preprocess import Array8
from .library import BuildSettings, BuiltPlan, Device, GraphFiles
from .session import VIEWS_AT_ONCE, WITH_BF16, in_parts
from .tensors import IMAGE, Outputs

VERSION: str = ov.__version__.split("-")[0]

_TYPES = {
    "CPU": {"fp32": ov.Type.f32, "bf16": ov.Type.bf16, "int8": ov.Type.f32},
    "GPU": {"fp32": ov.Type.f32, "fp16": ov.Type.f16, "int8": ov.Type.f32},
}
"""Device → precision → the type of operations that the graph itself does not quantise (see _type)."""

REST = "bf16"
"""The precision in which plans run the operations that an int8 graph does not quantise (registry.open_session).
bf16 is allowed, because a plan's parity record is measured on the device that uses the plan.
"""

UNWRITTEN = -2.0
"""A value that no feature has: features are vectors of length 1. It is written to the outputs before each run, because
OpenVINO 2026.4 may return without error if memory has run out, and leave the outputs of the previous picture.
"""

_WITHOUT_WEIGHTS = {"CACHE_MODE": "OPTIMIZE_SIZE"}
"""The configuration for building and for opening plans."""


class OpenVinoSession:
    """A compiled OpenVINO model with one inference request, configured for latency.

    Args:
        compiled: The compiled model.
        device: "CPU" or "GPU".
        precision: The precision of the graph.
        rest: The precision of the operations that an int8 graph does not quantise (registry.open_session).

    Raises:
        BackendError: OpenVINO chose another precision.
    """

    def __init__(self, compiled: Any, device: str, precision: str, rest: str) -> None:
        actual, expected = compiled.get_property("INFERENCE_PRECISION_HINT"), _type(device, precision, rest)
        if actual != expected:
            raise BackendError(f"OpenVINO chose {actual} where {precision} was requested")
        self._lock = threading.Lock()
        self._request = compiled.create_infer_request()
        self._output_names = [output.any_name for output in compiled.outputs]
        self._conditions: Conditions | None = None
        with_bf16 = WITH_BF16 if precision == "int8" and actual == ov.Type.bf16 else ""
        self.description = f"openvino {VERSION} {device} {precision}{with_bf16}"

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        with self._lock:  # there is one set of buffers, so results are copied before the next call fills them
            if conditions is not None and conditions != self._conditions:
                self._conditions = None  # until all tensors are set
                for name, tensor in conditions.tensors.items():
                    self._request.set_tensor(name, ov.Tensor(tensor))  # a copy
                self._conditions = conditions
            return in_parts(views, VIEWS_AT_ONCE, self._infer)

    def _infer(self, views: Array8) -> Outputs:
        for output in self._read().values():
            output.reshape(-1)[:1] = UNWRITTEN
        infer = functools.partial(self._request.infer, {IMAGE: views}, share_inputs=True, share_outputs=True)
        _refusing("cannot run the graph", infer)
        outputs = self._read()
        if any(len(output) != len(views) or UNWRITTEN in output.reshape(-1)[:1] for output in outputs.values()):
            raise BackendError(f"OpenVINO {VERSION} cannot run the graph: it gave no reason; memory may have run out")
        return {name: output.copy() for name, output in outputs.items()}

    def _read(self) -> Outputs:
        """Return the request's own output arrays. A further run of as many views writes to the same arrays."""
        return {name: self._request.get_output_tensor(index).data for index, name in enumerate(self._output_names)}


class OpenVino:
    """OpenVINO as a library that runs plans (library.Library).

    Args:
        backend: The backend's name in registry.BACKENDS.
        device: "CPU" or "GPU", as OpenVINO names them.
    """

    title = "OpenVINO"
    version = VERSION
    settings: frozenset[str] = frozenset()

    def __init__(self, backend: str, device: str) -> None:
        self.backend = backend
        self._device = device

    def device(self) -> Device:
        """Return the device's name with the types that it can compute in, because compiled plans depend on them."""
        core = ov.Core()
        needs = "" if self._device == "CPU" else ", which needs an Intel GPU and its OpenCL driver (intel-opencl-icd)"
        name = _refusing(f"has no {self._device}{needs}", lambda: core.get_property(self._device, "FULL_DEVICE_NAME"))
        capabilities = core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        return Device(f"{name.strip()} with {' '.join(sorted(capabilities))}")

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> bytes:  # noqa: ARG002
        compiled = compile_graph(graph.path, self._device, graph.precision, REST, _WITHOUT_WEIGHTS)
        data: bytes = compiled.export_model().getvalue()
        return data

    def open(self, graph: GraphFiles, plan: BuiltPlan, data: bytes | None, threads: int | None) -> OpenVinoSession:
        config = _configuration(self._device, graph.precision, REST, threads)
        config |= _WITHOUT_WEIGHTS | {"WEIGHTS_PATH": str(graph.weights)}
        core = ov.Core()
        what = f"cannot open {plan.name}"
        compiled = _refusing(what, lambda: core.import_model(data, self._device, config))
        return OpenVinoSession(compiled, self._device, graph.precision, REST)


def compile_graph(
    path: Path, device: str, precision: str, rest: str, further: dict[str, str], threads: int | None = None
) -> Any:
    """Compile a graph file into OpenVINO's model.

    Args:
        path: The ONNX file.
        device: "CPU" or "GPU".
        precision: The precision of the graph.
        rest: The precision of the operations that an int8 graph does not quantise (registry.open_session).
        further: Further settings of OpenVINO.
        threads: The most threads of the library on a CPU; None means no bound.

    Returns:
        OpenVINO's compiled model.

    Raises:
        BackendError: The device cannot run the precision, or OpenVINO cannot compile the graph.
    """
    config = _configuration(device, precision, rest, threads) | further
    core = ov.Core()
    return _refusing(f"cannot open {path}", lambda: core.compile_model(core.read_model(path), device, config))


def _configuration(device: str, precision: str, rest: str, threads: int | None) -> dict[str, object]:
    config: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _type(device, precision, rest),
    }
    if threads is not None and device == "CPU":
        config["INFERENCE_NUM_THREADS"] = threads
    return config


def _type(device: str, precision: str, rest: str) -> ov.Type:
    """Return the type that OpenVINO must compute in. Raise BackendError if the device cannot run the precision."""
    if precision not in _TYPES[device]:
        accepted = ", ".join(_TYPES[device])
        raise BackendError(f"OpenVINO cannot run {precision} on the {device}: {accepted} are supported")
    has_bf16 = device == "CPU" and "BF16" in ov.Core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise BackendError("this processor has no bf16: use --precision fp32")
    if precision == "int8" and rest == "bf16" and has_bf16:
        return ov.Type.bf16
    return _TYPES[device][precision]


def _refusing(what: str, call: Callable[[], Any]) -> Any:
    """Return the result of `call`. Turn an error of OpenVINO into a BackendError with the last line of its message."""
    try:
        return call()
    except RuntimeError as error:
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        raise BackendError(
            f"OpenVINO {ov.__version__} {what}: {lines[-1] if lines else 'it gave no reason'}"
        ) from error


def library(backend: str) -> OpenVino:
    """Return the library of a backend (registry.open_library).

    Args:
        backend: The backend's name.
    """
    return OpenVino(backend, "GPU" if backend == "openvino-gpu" else "CPU")


def open_session(graph: Path, precision: str, threads: int | None, rest: str) -> OpenVinoSession:
    """Open a graph file on the CPU (registry.open_session).

    Args:
        graph: The ONNX file.
        precision: The precision of the graph.
        threads: The most threads of the library; None means no bound.
        rest: The precision of the operations that an int8 graph does not quantise (registry.open_session).

    Returns:
        The open graph.

    Raises:
        BackendError: The processor cannot run the precision, or the graph cannot be opened.
    """
    return OpenVinoSession(compile_graph(graph, "CPU", precision, rest, {}, threads), "CPU", precision, rest)
