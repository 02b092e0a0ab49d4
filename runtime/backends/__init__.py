"""Inference libraries behind one small interface, each imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ..conditions import Conditions
from ..errors import BackendError, EngineError
from ..preprocess import Array8
from ..scoring import Floats

if TYPE_CHECKING:
    from .cuda import DeviceArray


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
    "onnxruntime-cuda": Backend("onnxruntime_gpu", "onnxruntime", "gpu"),
    "onnxruntime-tensorrt": Backend("onnxruntime_gpu", "onnxruntime", "gpu"),
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


WITH_BF16 = " with bf16"
"""How the description of a session ends that computes in bf16 what its int8 graph does not quantise."""


VIEWS_AT_ONCE = 8
"""In one pass on a CPU. What an encoder holds in between grows with them, and it is no faster for more."""


def in_parts(views: Array8, at_once: int, run: Callable[[Array8], list[Floats]]) -> list[Floats]:
    """An encoder's outputs for any number of views [B,S,S,3], which it is given in parts of nearly one size."""
    parts = [run(some) for some in np.array_split(views, max(1, math.ceil(len(views) / at_once)))]
    return parts[0] if len(parts) == 1 else [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


class Session(Protocol):
    """An open graph."""

    description: str
    """What really runs: library and version, device, precision."""

    def run(self, views: Array8, conditions: Conditions | None = None) -> list[Floats]:
        """uint8 [B,S,S,3] → float32 outputs in the graph's order: global, local, memory_0, memory_1 …

        conditions: what a prompted graph reads besides.
        """


@runtime_checkable
class DeviceSession(Session, Protocol):
    """An open graph whose views and features may stay on the GPU: see gpu_session.GpuSession.

    Hold `lock` from filling the input to the last use of the outputs. Everything but `wait` is enqueued on `stream`.
    """

    lock: Lock
    max_batch: int
    """The most views in one launch."""

    @property
    def stream(self) -> int:
        """A CUDA stream."""

    def input(self) -> DeviceArray:
        """Where views are read from: uint8 [max_batch,S,S,3]."""

    def fill(self, views: Array8) -> None:
        """Bring views from the host into the input."""

    def condition(self, conditions: Conditions | None) -> None:
        """Bring what a prompted graph reads besides views into its inputs, unless it is there."""

    def launch(self, batch: int) -> None:
        """Run the first `batch` views of the input."""

    def outputs(self, batch: int) -> list[DeviceArray]:
        """Where the features of the last launch are: float32, in the order of Session.run."""

    def buffer(self, name: str, shape: tuple[int, ...], element: Any) -> tuple[Any, DeviceArray]:
        """An array in page-locked host memory and one on the GPU, kept under a name for the next who asks."""

    def upload(self, host: Any, device: DeviceArray) -> None:
        """Copy an array of `buffer` to the GPU."""

    def download(self, host: Any, device: DeviceArray) -> None:
        """Copy an array of `buffer` from the GPU."""

    def wait(self) -> None:
        """Wait until all of it is done."""


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
    extras = " or ".join(f'pip install "goodparts[{BACKENDS[name].extra}]"' for name in choices)
    raise BackendError(f"no inference library for a {precision} graph is installed: {extras}")


def load(backend: str) -> Any:
    """A backend's module; BackendError that names what is missing where it cannot be loaded."""
    known = BACKENDS[backend]
    try:
        return importlib.import_module(f".{known.module}", __name__)
    except ModuleNotFoundError as error:
        raise BackendError(
            f'{error.name} is not installed: pip install "goodparts[{known.extra}]"{known.hint}'
        ) from error
    except ImportError as error:  # what the loader says names the library
        said = str(error).strip().splitlines()[0]
        raise BackendError(
            f"{known.package} cannot be loaded: {said}: put it on the loader's path (LD_LIBRARY_PATH)"
        ) from error


def open_session(graph: Path, backend: str, precision: str, threads: int | None, rest: str = "fp32") -> Session:
    """Open a graph file in a backend that runs graphs as they are; BackendError where it cannot. No fallback.

    rest: "bf16" where what an int8 graph does not quantise may be computed in it; OpenVINO does, if the processor can.
    """
    if backend not in AUTO:
        raise BackendError(f"{backend} runs what `goodparts build` made, not graph files: choose {' or '.join(AUTO)}")
    session: Session = load(backend).open_session(graph, precision, threads, rest)
    return session
