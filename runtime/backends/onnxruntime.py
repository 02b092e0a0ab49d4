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
from ..core.scoring import Floats
from .session import VIEWS_AT_ONCE, in_parts

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
        used = self._session.get_providers()
        if used != [PROVIDER]:
            raise BackendError(f"ONNX Runtime chose {used}, not {PROVIDER}")
        self._input = self._session.get_inputs()[0].name
        self.description = f"onnxruntime {ort.__version__} {PROVIDER} {ARITHMETIC[precision]}"

    def run(self, views: Array8, conditions: Conditions | None = None) -> list[Floats]:
        further = {} if conditions is None else conditions.tensors
        return in_parts(views, VIEWS_AT_ONCE, lambda some: self._infer({self._input: some, **further}))

    def _infer(self, inputs: dict[str, Any]) -> list[Floats]:
        with _refusing("cannot run the graph"):
            outputs: list[Floats] = self._session.run(None, inputs)
        return outputs


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """BackendError, in one line, where ONNX Runtime refuses."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise BackendError(
            f"ONNX Runtime {ort.__version__} {what}: {first_line(error, 'it gave no reason')}"
        ) from error


def open_session(graph: Path, precision: str, threads: int | None, rest: str) -> OnnxRuntimeSession:  # noqa: ARG001
    """See backends.open_session."""
    if precision not in ARITHMETIC:
        raise BackendError(f"ONNX Runtime's CPU provider cannot run {precision}: {', '.join(ARITHMETIC)} are supported")
    return OnnxRuntimeSession(graph, precision, threads)
