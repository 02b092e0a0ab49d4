"""A double of ONNX Runtime with its CUDA provider, over the double of CUDA. ONNX Runtime's CPU provider computes.

It accepts the options whose names are in the shared libraries of onnxruntime-gpu 1.31 (test_onnxruntime_cuda.py reads
an installed one). It is strict about addresses: memory is looked up, not dereferenced.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as real

from tests.runtime.backends.cuda_double import STREAMS, Machine
from tests.runtime.backends.tensorrt_double import installed as with_cuda
from tests.runtime.backends.tensorrt_double import session as cpu_session

PROVIDER = "CUDAExecutionProvider"
OPTIONS = {"device_id", "user_compute_stream", "has_user_compute_stream", "enable_cuda_graph", "use_tf32"}
"""The names of the options that the provider receives."""


@dataclass
class OnnxRuntime:
    """What the double pretends to be, and what it recorded."""

    machine: Machine
    providers: list[str] = field(default_factory=lambda: [PROVIDER, "CPUExecutionProvider"])
    missing: str | None = None
    """The loader's message about the provider's libraries."""
    refusal: str | None = None
    """The message of the error when a session is made."""
    failing_run: str | None = None
    """The message of the error of the next run."""
    on_capture: Callable[[], None] = lambda: None
    """A function that is called while a run is captured."""
    left_to_cpu: bool = False
    """Whether sessions silently run on the CPU."""
    opened: list[dict[str, str]] = field(default_factory=list)
    graphs: dict[tuple[Any, str], tuple[Any, ...]] = field(default_factory=dict)
    """CUDA graph → the addresses that it was recorded with."""


@contextmanager
def installed(machine: Machine) -> Iterator[OnnxRuntime]:
    """Install the doubles where the backend finds them."""
    state = OnnxRuntime(machine)
    with with_cuda(machine):
        module: Any = importlib.import_module("goodparts.runtime.backends.onnxruntime_cuda")
        module.ort = onnxruntime_double(state)
        module.ctypes = SimpleNamespace(CDLL=lambda _: touch(state, OSError))
        yield state


def touch(state: OnnxRuntime, kind: type[Exception] = RuntimeError) -> None:
    """Load the provider, or raise its error."""
    if state.missing:
        raise kind(state.missing if kind is OSError else "Provider not available, can't get interface for it")


def onnxruntime_double(state: OnnxRuntime) -> Any:
    """Return the module `onnxruntime`, as far as it is used."""

    class IOBinding:
        def __init__(self) -> None:
            self.arrays: dict[str, Any] = {}
            self.addresses: list[int] = []

        def bind_input(
            self, name: str, device_type: str, device_id: int, element_type: Any, shape: list[int], buffer_ptr: int
        ) -> None:
            assert (device_type, device_id) == ("cuda", 0)
            size = int(np.prod(shape))
            block = np.frombuffer(state.machine.allocated[buffer_ptr], element_type)
            self.arrays[name] = block[:size].reshape(shape)
            self.addresses.append(buffer_ptr)

        def bind_output(
            self, name: str, device_type: str, device_id: int, element_type: Any, shape: list[int], buffer_ptr: int
        ) -> None:
            self.bind_input(name, device_type, device_id, element_type, shape, buffer_ptr)

    class InferenceSession:
        def __init__(self, graph: str, settings: Any, providers: Any, enable_fallback: int) -> None:  # noqa: ARG002
            assert enable_fallback == 0
            ((provider, self.options),) = providers
            assert provider == PROVIDER
            assert set(self.options) <= OPTIONS
            assert all(type(value) is str for value in self.options.values())
            if state.refusal:
                raise RuntimeError(state.refusal)
            state.opened.append(self.options)
            self._session = cpu_session(graph)

        def get_providers(self) -> list[str]:
            return [] if state.left_to_cpu else [PROVIDER, "CPUExecutionProvider"]

        def get_inputs(self) -> Any:
            return self._session.get_inputs()

        def get_outputs(self) -> Any:
            return self._session.get_outputs()

        def io_binding(self) -> IOBinding:
            return IOBinding()

        def run_with_iobinding(self, iobinding: IOBinding, run_options: Any) -> None:
            if state.failing_run:
                reason, state.failing_run = state.failing_run, None
                raise RuntimeError(reason)
            views = iobinding.arrays["image"]
            if self.options.get("enable_cuda_graph") == "1":
                key = run_options.get_run_config_entry("gpu_graph_id")
                recorded = (len(views), *iobinding.addresses)
                # The key is the session itself, because its id may be reused after it is freed.
                if (self, key) not in state.graphs:
                    with state.machine.global_capture():
                        state.on_capture()
                assert state.graphs.setdefault((self, key), recorded) == recorded
            stream = STREAMS[int(self.options["user_compute_stream"])]
            state.machine.asked["wait"] += 1  # at the end of a run, as ONNX Runtime does
            while stream.queue:
                stream.queue.pop(0)()
            inputs = {tensor.name: iobinding.arrays[tensor.name] for tensor in self.get_inputs()}
            names = [name for name in iobinding.arrays if name not in inputs]
            for name, output in zip(names, self._session.run(names, inputs), strict=True):
                iobinding.arrays[name][...] = output + np.float32(state.machine.offset)

    return SimpleNamespace(
        __version__=real.__version__,
        __file__=real.__file__,
        InferenceSession=InferenceSession,
        SessionOptions=real.SessionOptions,
        RunOptions=real.RunOptions,
        OrtValue=SimpleNamespace(ortvalue_from_shape_and_type=lambda *_: touch(state)),
        get_available_providers=lambda: state.providers,
        set_default_logger_severity=lambda _: None,
    )
