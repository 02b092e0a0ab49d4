"""NVIDIA TensorRT, 10.3 and later: runs a plan that `goodparts build` made.

Not run on a real TensorRT yet: tests/runtime/backends drives it through a double of its Python API.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tensorrt as trt

from ..errors import BackendError, EngineError
from ..plans import Device, Graph, Plan, slug
from ..preprocess import Array8
from ..scoring import Floats
from .cuda import Resources, current_gpu

if TYPE_CHECKING:
    from ..compile import BuildSettings

VERSION: str = trt.__version__
INPUT = "image"

Made = TypeVar("Made")

log = logging.getLogger(__name__)


class Logger(trt.ILogger):
    """Keeps TensorRT's errors for ours; the rest goes to `logging`, which shows it only when asked to."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: object, msg: str) -> None:
        line = " ".join(msg.split())
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(line)
        log.debug("TensorRT: %s", line)

    @property
    def reason(self) -> str:
        """What went wrong: the first error, of which later ones are mostly the consequence."""
        return self.errors[0] if self.errors else "it gave no reason"


def make(create: Callable[..., Made | None], *arguments: object, logger: Logger, failed: str) -> Made:
    """Call one of TensorRT's makers. Where it has nothing to give its bindings return None, or raise TypeError."""
    logger.errors.clear()
    try:
        made = create(*arguments)
    except TypeError as error:
        if "nullptr" not in str(error):
            raise
        made = None
    if made is None:
        raise BackendError(f"TensorRT {VERSION} {failed}: {logger.reason}")
    return made


class TensorRtSession:
    """A plan on the GPU: buffers allocated once, and per batch size one CUDA graph of copy, run and copy.

    A graph belongs to the execution context it was recorded from, which must not change afterwards; so each batch
    size has a context of its own. They run one at a time and share one block of scratch memory.
    """

    def __init__(self, plan: Plan, data: bytes | None) -> None:
        """Raises BackendError for a plan that TensorRT refuses or a GPU with too little memory."""
        self._logger = Logger()
        runtime = make(trt.Runtime, self._logger, logger=self._logger, failed="does not start")
        # A plan for later versions carries host code of its own; it is as trusted as the folder it lies in.
        runtime.engine_host_code_allowed = plan.later_versions
        self._engine = make(
            runtime.deserialize_cuda_engine, data, logger=self._logger, failed=f"cannot load {plan.name}"
        )
        self._lock = threading.Lock()
        self._launches: dict[int, Callable[[], Any]] = {}
        self._contexts: list[trt.IExecutionContext] = []  # kept alive for the graphs
        self._max_batch = plan.max_batch or 1
        self._resources = Resources()
        try:
            self._allocate()
            self.description = f"tensorrt {VERSION} {plan.device.name} {plan.precision}"
            self._prepare(1)  # what can fail fails now, not on the first frame
        except BaseException:
            self._resources.close()
            raise

    def _allocate(self) -> None:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        self._outputs = _in_order([name for name in names if modes[name] == trt.TensorIOMode.OUTPUT])
        if modes.get(INPUT) != trt.TensorIOMode.INPUT or engine.get_tensor_dtype(INPUT) != trt.DataType.UINT8:
            raise EngineError(f"the plan reads no uint8 tensor {INPUT!r} but {', '.join(names)}: build it again")
        for name in self._outputs:
            kind = engine.get_tensor_dtype(name)
            if kind != trt.DataType.FLOAT:
                raise EngineError(f"the plan's output {name} is {kind}, should be float32: build it again")
        self._scratch_size = int(engine.device_memory_size_v2)
        self._scratch = self._resources.device(max(self._scratch_size, 1))
        context = self._context(self._max_batch)
        shapes = {name: tuple(context.get_tensor_shape(name))[1:] for name in (INPUT, *self._outputs)}
        self._host: dict[str, Any] = {}
        self._device: dict[str, int] = {}
        for name, shape in shapes.items():
            element = np.dtype(np.uint8 if name == INPUT else np.float32)
            size = self._max_batch * int(np.prod(shape)) * element.itemsize
            self._device[name] = self._resources.device(size)
            self._host[name] = self._resources.pinned(size).view(element).reshape(self._max_batch, *shape)

    def _context(self, batch: int) -> trt.IExecutionContext:
        """An execution context for one batch size, on the shared scratch memory."""
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = make(
            self._engine.create_execution_context, strategy, logger=self._logger, failed="cannot run the plan"
        )
        context.set_device_memory(self._scratch, self._scratch_size)
        shape = (batch, *tuple(self._engine.get_tensor_shape(INPUT))[1:])
        if not context.set_input_shape(INPUT, shape):
            raise BackendError(f"TensorRT refuses views of {list(shape)}: {self._logger.reason}")
        return context

    def _prepare(self, batch: int) -> Callable[[], Any]:
        """What launches a run of this batch size: recorded as a CUDA graph when it is first asked for."""
        if batch in self._launches:
            return self._launches[batch]
        context, resources = self._context(batch), self._resources
        for name, address in self._device.items():
            context.set_tensor_address(name, address)

        def enqueue() -> None:
            resources.upload(self._device[INPUT], self._host[INPUT][:batch])
            if not context.execute_async_v3(int(resources.stream)):
                raise BackendError(f"TensorRT cannot run {batch} views: {self._logger.reason}")
            for name in self._outputs:
                resources.download(self._host[name][:batch], self._device[name])

        enqueue()  # the first run after a change of shape does work that cannot be recorded
        resources.wait()
        self._launches[batch] = resources.record(enqueue)
        self._contexts.append(context)
        return self._launches[batch]

    def run(self, views: Array8) -> list[Floats]:
        """See Session. More views than the plan takes at once run in turns."""
        size = self._max_batch
        parts = [self._run(views[start : start + size]) for start in range(0, max(len(views), 1), size)]
        return parts[0] if len(parts) == 1 else [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, views: Array8) -> list[Floats]:
        batch = len(views)
        if not batch:
            return [self._host[name][:0].copy() for name in self._outputs]
        with self._lock:  # one set of buffers: copied before the next call fills them
            launch = self._prepare(batch)
            self._host[INPUT][:batch] = views
            launch()
            self._resources.wait()
            return [self._host[name][:batch].copy() for name in self._outputs]


class TensorRt:
    """Plans of TensorRT (plans.Library)."""

    backend = "tensorrt"
    title = "TensorRT"
    version = VERSION
    settings = frozenset({"max_batch", "opt_batch", "hardware", "later_versions", "level", "workspace"})

    def device(self) -> Device:
        return current_gpu()

    def build(self, graph: Graph, settings: BuildSettings, folder: Path) -> bytes:
        """With something to see while it goes on; kernel timings are kept."""
        from .tensorrt_build import build_with_timings

        kept = folder / f"timings-{slug(self.backend, self.device(), VERSION)}.cache"
        return build_with_timings(graph, settings, kept)

    def open(self, graph: Graph, plan: Plan, data: bytes | None, threads: int | None) -> TensorRtSession:  # noqa: ARG002
        return TensorRtSession(plan, data)


def library(_: str) -> TensorRt:
    """See plans.Library."""
    return TensorRt()


def _in_order(names: list[str]) -> list[str]:
    """Output names in the graph's order: global, local, memory_0, memory_1 …"""
    memory = sorted((name for name in names if name.startswith("memory_")), key=lambda name: int(name[7:]))
    if sorted(names) != sorted(["global", "local", *memory]):
        raise EngineError(f"the plan gives {', '.join(names)}, not global, local, memory_0 …: build it again")
    return ["global", "local", *memory]
