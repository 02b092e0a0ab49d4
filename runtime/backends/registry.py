"""Inference libraries behind one small interface, each imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, EngineError, first_line, install_line
from .session import Session


@dataclass(frozen=True)
class Backend:
    """Where a backend's code is, the package that shows whether it is installed, the extra that installs it, and what
    else is to be said when it is missing."""

    module: str
    package: str
    extra: str
    hint: str = ""


TENSORRT = "tensorrt"

BACKENDS = {
    "openvino": Backend("openvino", "openvino", "openvino"),
    "onnxruntime": Backend("onnxruntime", "onnxruntime", "cpu"),
    "openvino-gpu": Backend("openvino", "openvino", "openvino"),
    "onnxruntime-cuda": Backend("onnxruntime_cuda", "onnxruntime", "gpu"),
    "onnxruntime-tensorrt": Backend("onnxruntime_cuda", "onnxruntime", "gpu"),
    TENSORRT: Backend(
        module="tensorrt",
        package="tensorrt",
        extra="tensorrt",
        hint="; on a Jetson TensorRT comes with JetPack, seen from environments made with --system-site-packages",
    ),
}

AUTO = ("openvino", "onnxruntime")
"""What "auto" tries, in this order: OpenVINO was the faster in every precision (benchmarks/results/frame.md). A GPU's
backend is never among them: it runs what `goodparts build` made for it, which is a wish of its own."""


def installed(backend: str) -> bool:
    """Whether a backend's library can be found, without importing it."""
    return importlib.util.find_spec(BACKENDS[backend].package) is not None


def check_name(backend: str) -> None:
    """BackendError for a name that is no backend's."""
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend {backend!r}: choose auto, {', '.join(BACKENDS)}")


def choose_backend(backend: str, allowed: Sequence[str], precision: str) -> str:
    """The named backend, or for "auto" the first of AUTO that is allowed and installed.

    allowed: those that have a parity record for the precision. Raises EngineError for a pair without one, BackendError
    where there is no such backend or nothing is installed.
    """
    if backend != "auto":
        check_name(backend)
        if backend not in allowed:
            pairs = ", ".join(allowed) or "none"
            raise EngineError(
                f"{precision} on {backend} has no parity record in this engine (has: {pairs}): "
                f"export again with {backend} installed, or choose another backend"
            )
        return backend
    choices = [name for name in AUTO if name in allowed]
    for name in choices:
        if installed(name):
            return name
    extras = install_line(*(BACKENDS[name].extra for name in choices))
    raise BackendError(f"no inference library for a {precision} graph is installed: {extras}")


def load(backend: str) -> Any:
    """A backend's module; BackendError that names what is missing where it cannot be loaded."""
    known = BACKENDS[backend]
    try:
        return importlib.import_module(f".{known.module}", __package__)
    except ModuleNotFoundError as error:
        raise BackendError(f"{error.name} is not installed: {install_line(known.extra)}{known.hint}") from error
    except ImportError as error:  # what the loader says names the library
        raise BackendError(
            f"{known.package} cannot be loaded: {first_line(error)}: put it on the loader's path (LD_LIBRARY_PATH)"
        ) from error


def open_session(graph: Path, backend: str, precision: str, threads: int | None, rest: str = "fp32") -> Session:
    """Open a graph file in a backend that runs graphs as they are; BackendError where it cannot. No fallback.

    rest: "bf16" where what an int8 graph does not quantise may be computed in it; OpenVINO does, if the processor can.
    """
    if backend not in AUTO:
        raise BackendError(f"{backend} runs what `goodparts build` made, not graph files: choose {' or '.join(AUTO)}")
    session: Session = load(backend).open_session(graph, precision, threads, rest)
    return session
