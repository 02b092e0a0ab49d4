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
"""Precision → how the kernels compute. They multiply fp16 values in fp32: values are rounded to fp16, sums are not."""


class OnnxRuntimeSession:
    """A graph in an ONNX Runtime session.

    Args:
        graph: The ONNX file.
        precision: The precision of the graph, one of ARITHMETIC.
        threads: The most threads of the library; None means no bound.

    Raises:
        BackendError: ONNX Runtime cannot open the graph, or runs it elsewhere than on the CPU.
    """

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
    """Turn an error of ONNX Runtime into a BackendError of one line."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise BackendError(
            f"ONNX Runtime {ort.__version__} {what}: {first_line(error, 'it gave no reason')}"
        ) from error


def open_session(graph: Path, precision: str, threads: int | None, rest: str) -> OnnxRuntimeSession:  # noqa: ARG001
    """Open a graph file (registry.open_session).

    Args:
        graph: The ONNX file.
        precision: The precision of the graph.
        threads: The most threads of the library; None means no bound.
        rest: Ignored: ONNX Runtime computes the operations that an int8 graph does not quantise in fp32.

    Returns:
        The open graph.

    Raises:
        BackendError: The precision is not supported, or the graph cannot be opened.
    """
    if precision not in ARITHMETIC:
        raise BackendError(f"ONNX Runtime's CPU provider cannot run {precision}: {', '.join(ARITHMETIC)} are supported")
    return OnnxRuntimeSession(graph, precision, threads)
