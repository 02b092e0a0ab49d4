"""Inference libraries behind one small interface, each imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ..errors import BackendError, EngineError
from ..preprocess import Array8
from ..scoring import Floats

BACKENDS = {"onnxruntime": "cpu", "openvino": "openvino"}
"""Backend → the extra that installs it; "auto" tries them in this order."""

TENSORRT = "tensorrt"
"""Runs plans (runtime/plans.py), not graph files; never chosen by "auto"."""


class Session(Protocol):
    """An open graph."""

    description: str
    """What really runs: library and version, device, precision."""

    def run(self, views: Array8) -> list[Floats]:
        """uint8 [B,S,S,3] → float32 outputs in the graph's order: global, local, memory_0, memory_1 …"""


def installed(backend: str) -> bool:
    """Whether a backend's library can be found, without importing it."""
    return importlib.util.find_spec(backend) is not None


def open_session(graph: Path, backend: str, allowed: Sequence[str], precision: str, threads: int | None) -> Session:
    """Open a graph file in the named backend, or for "auto" in the first of `allowed` that is installed.

    Raises EngineError when the engine has no parity record for the pair, BackendError when the library is
    missing or cannot do it. Nothing falls back silently.
    """
    if backend not in BACKENDS and backend != "auto":
        raise BackendError(f"unknown backend {backend!r}: choose auto, {', '.join(BACKENDS)}, {TENSORRT}")
    if backend == "auto":
        usable = [name for name in BACKENDS if name in allowed and installed(name)]
        if not usable:
            choice = " or ".join(f'pip install "goodparts[{BACKENDS[name]}]"' for name in BACKENDS if name in allowed)
            raise BackendError(f"no inference library for a {precision} graph is installed: {choice}")
        backend = usable[0]
    if backend not in allowed:
        pairs = ", ".join(allowed) or "none"
        raise EngineError(
            f"{precision} on {backend} has no parity record in this engine (has: {pairs}): "
            f"export again with {backend} installed, or choose another backend"
        )
    if not installed(backend):
        raise BackendError(f'{backend} is not installed: pip install "goodparts[{BACKENDS[backend]}]"')
    module = importlib.import_module(f".{backend}", __name__)
    session: Session = module.open_session(graph, precision, threads)
    return session
