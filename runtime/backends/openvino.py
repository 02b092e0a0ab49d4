"""OpenVINO on the CPU, in fp32, bf16 or int8.

Left alone, OpenVINO runs an fp32 graph in bf16 on processors that have it; the precision is therefore
always set and always read back.
"""

from __future__ import annotations

import threading
from pathlib import Path

import openvino as ov

from ..errors import BackendError
from ..preprocess import Array8
from ..scoring import Floats

_TYPES = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16, "int8": ov.Type.f32}
"""Precision → the type of whatever the graph itself does not quantise."""


class OpenVinoSession:
    """A compiled OpenVINO model with one inference request, tuned for latency."""

    def __init__(self, graph: Path, precision: str, threads: int | None, cache: Path | None = None) -> None:
        """cache: where OpenVINO keeps what it compiled, weights and all; on trial in `goodparts bench start`."""
        wanted = _TYPES[precision]
        core = ov.Core()
        config: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": wanted}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        if cache is not None:
            config["CACHE_DIR"] = str(cache)
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendError("this processor has no bf16: use --precision fp32")
        try:
            compiled = core.compile_model(core.read_model(graph), "CPU", config)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1]
            raise BackendError(f"OpenVINO {ov.__version__} cannot open {graph}: {line}") from error
        used = compiled.get_property("INFERENCE_PRECISION_HINT")
        if used != wanted:
            raise BackendError(f"OpenVINO chose {used} where {precision} was asked for")
        self._lock = threading.Lock()
        self._request = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))
        self.description = f"openvino {ov.__version__.split('-')[0]} CPU {precision}"

    def run(self, views: Array8) -> list[Floats]:
        with self._lock:  # one request, one set of buffers: copied before the next call fills them
            self._request.infer({0: views}, share_inputs=True, share_outputs=True)
            return [self._request.get_output_tensor(index).data.copy() for index in self._outputs]


def open_session(graph: Path, precision: str, threads: int | None) -> OpenVinoSession:
    """See backends.open_session."""
    if precision not in _TYPES:
        raise BackendError(f"OpenVINO cannot run {precision} here: {', '.join(_TYPES)} are supported")
    return OpenVinoSession(graph, precision, threads)
