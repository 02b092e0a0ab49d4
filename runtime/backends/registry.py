"""The registry of backends: inference libraries by name. Each library is imported only when it is used."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, EngineError, first_line, install_line
from .library import Library
from .session import Session


@dataclass(frozen=True)
class Backend:
    """The origin of a backend: its module, and the library behind it.

    Attributes:
        module: Its module in this folder.
        package: The package that shows whether its library is installed.
        extra: The extra of goodparts that installs the library.
        hint: Further advice for the error that the library is missing.
    """

    module: str
    package: str
    extra: str
    hint: str = ""


TENSORRT = "tensorrt"
TENSORRT_RTX = "tensorrt-rtx"

BACKENDS = {
    "openvino": Backend("openvino", "openvino", "openvino"),
    "onnxruntime": Backend("onnxruntime", "onnxruntime", "cpu"),
    "openvino-gpu": Backend("openvino", "openvino", "openvino"),
    "onnxruntime-cuda": Backend("onnxruntime_cuda", "onnxruntime", "gpu"),
    TENSORRT: Backend(
        module="tensorrt",
        package="tensorrt",
        extra="tensorrt",
        hint="; on a Jetson, TensorRT comes with JetPack: make the environment with --system-site-packages",
    ),
    TENSORRT_RTX: Backend("tensorrt", "tensorrt_rtx_bindings", "tensorrt-rtx"),
}

AUTO = ("openvino", "onnxruntime")
"""The backends that "auto" tries, in this order. OpenVINO was faster in every precision (benchmarks/results/frame.md).

Their modules have a function `open_session`, which opens a graph file. All modules but "onnxruntime" have a function
`library`, which returns the Library that builds and runs plans. GPU backends are not in AUTO, because they run only
plans that `goodparts build` made.
"""


def installed(backend: str) -> bool:
    """Return whether a backend's library is installed. The library is not imported.

    Args:
        backend: The backend's name.
    """
    return importlib.util.find_spec(BACKENDS[backend].package) is not None


def check_name(backend: str) -> None:
    """Check that a backend exists.

    Args:
        backend: The name to check.

    Raises:
        BackendError: There is no backend of this name.
    """
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend {backend!r}: choose auto, {', '.join(BACKENDS)}")


def choose_backend(backend: str, allowed: Sequence[str], precision: str) -> str:
    """Return the named backend, or for "auto" the first of AUTO that is allowed and installed.

    Args:
        backend: The backend's name, or "auto".
        allowed: The backends that have a parity record for the precision.
        precision: The precision of the graph, for the error.

    Raises:
        EngineError: The backend is not allowed.
        BackendError: There is no backend of this name, or for "auto" no allowed backend is installed.
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


def open_session(graph: Path, backend: str, precision: str, threads: int | None, rest: str = "fp32") -> Session:
    """Open a graph file in a backend of AUTO. If that fails, no other backend is tried.

    Args:
        graph: The ONNX file.
        backend: The backend's name.
        precision: The precision of the graph.
        threads: The most threads of the library; None means no bound.
        rest: The precision in which the operations that an int8 graph does not quantise may run: "fp32" or "bf16".
            With "bf16", OpenVINO uses bf16 if the processor supports it.

    Returns:
        The open graph.

    Raises:
        BackendError: The backend runs only plans, its library is missing, or it cannot open the graph.
    """
    if backend not in AUTO:
        raise BackendError(f"{backend} runs plans of `goodparts build`, not graph files: choose {' or '.join(AUTO)}")
    with _importing(backend) as module:
        open_graph = module.open_session
    session: Session = open_graph(graph, precision, threads, rest)
    return session


def open_library(backend: str) -> Library:
    """Return the library of a backend that runs plans.

    Args:
        backend: The backend's name.

    Raises:
        BackendError: The library is missing or cannot be loaded.
    """
    with _importing(backend) as module:
        library: Library = module.library(backend)
    return library


@contextlib.contextmanager
def _importing(backend: str) -> Iterator[Any]:
    """Import a backend's module. If that fails, raise BackendError that names the missing library."""
    entry = BACKENDS[backend]
    try:
        yield importlib.import_module(f".{entry.module}", __package__)
    except ModuleNotFoundError as error:
        raise BackendError(f"{error.name} is not installed: {install_line(entry.extra)}{entry.hint}") from error
    except ImportError as error:  # the loader's message names the library
        raise BackendError(
            f"{entry.package} cannot be loaded: {first_line(error)}: put it on the loader's path (LD_LIBRARY_PATH)"
        ) from error
