"""ONNX Runtime on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime as ort

from ..core.conditions import Conditions
from ..core.errors import BackendError, first_line
from ..core.preprocess import Array8
from .session import VIEWS_AT_ONCE, in_parts
from .tensors import IMAGE, Outputs

PROVIDER = "CPUExecutionProvider"
ARITHMETIC = {"fp32": "fp32", "fp16": "fp16, computed in fp32", "int8": "int8"}
"""Precision → what its kernels do. It has no product in fp16: values are rounded to it, sums are not."""


class OnnxRuntimeSession:
    """A graph in an ONNX Runtime session."""

    def __init__(self, graph: Path, precision: str, threads: int | None) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        with _refusing(f"cannot open {graph}"):
            self._session = ort.InferenceSession(str(graph), options, providers=[PROVIDER])
        providers = self._session.get_providers()
        if providers != [PROVIDER]:
            raise BackendError(f"ONNX Runtime chose {providers}, not {PROVIDER}")
        self._output_names = [output.name for output in self._session.get_outputs()]
        self.description = f"onnxruntime {ort.__version__} {PROVIDER} {ARITHMETIC[precision]}"

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        tensors = {} if conditions is None else conditions.tensors
        return in_parts(views, VIEWS_AT_ONCE, lambda part: self._infer({IMAGE: part, **tensors}))

    def _infer(self, inputs: dict[str, Any]) -> Outputs:
        with _refusing("cannot run the graph"):
            arrays = self._session.run(self._output_names, inputs)
        return dict(zip(self._output_names, arrays, strict=True))


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn an error of ONNX Runtime into a BackendError in one line."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise BackendError(
            f"ONNX Runtime {ort.__version__} {what}: {first_line(error, 'it gave no reason')}"
        ) from error


def open_session(graph: Path, precision: str, threads: int | None, rest: str) -> OnnxRuntimeSession:  # noqa: ARG001
    """Open a graph (registry.open_session)."""
    if precision not in ARITHMETIC:
        raise BackendError(f"ONNX Runtime's CPU provider cannot run {precision}: {', '.join(ARITHMETIC)} are supported")
    return OnnxRuntimeSession(graph, precision, threads)
