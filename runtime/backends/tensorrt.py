"""NVIDIA TensorRT, 10.3 and later: runs a plan that `goodparts build` made.

Not run on a real TensorRT yet: tests/runtime/backends drives it through a double of its Python API.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tensorrt as trt

from ..core.errors import BackendError, EngineError
from .cuda import current_gpu
from .gpu_session import INPUT, GpuSession
from .library import Built, Device, GraphFiles, slug

if TYPE_CHECKING:
    from .library import BuildSettings

VERSION: str = trt.__version__
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


class TensorRtSession(GpuSession):
    """A plan on the GPU: per batch size one CUDA graph.

    A graph belongs to the execution context it was recorded from, which must not change afterwards; so each batch
    size has a context of its own. They run one at a time and share one block of scratch memory.
    """

    def __init__(self, plan: Built, data: bytes | None) -> None:
        """Raises BackendError for a plan that TensorRT refuses or a GPU with too little memory."""
        self._logger = Logger()
        runtime = make(trt.Runtime, self._logger, logger=self._logger, failed="does not start")
        # A plan for later versions carries host code of its own; it is as trusted as the folder it lies in.
        runtime.engine_host_code_allowed = plan.later_versions
        self._engine = make(
            runtime.deserialize_cuda_engine, data, logger=self._logger, failed=f"cannot load {plan.name}"
        )
        self.description = f"tensorrt {VERSION} {plan.device.name} {plan.precision}"
        super().__init__(plan.max_batch or 1)
        with self._opening():
            self._scratch_size = int(self._engine.device_memory_size_v2)
            self._scratch = self._resources.device(max(self._scratch_size, 1))
            self._allocate(*self._shapes())

    def _shapes(self) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
        """Of views and outputs, without the batch, and of the conditions of a prompted graph."""
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        if modes.get(INPUT) != trt.TensorIOMode.INPUT or engine.get_tensor_dtype(INPUT) != trt.DataType.UINT8:
            raise EngineError(f"the plan reads no uint8 tensor {INPUT!r} but {', '.join(names)}: build it again")
        for name in names:
            kind = engine.get_tensor_dtype(name)
            if name != INPUT and kind != trt.DataType.FLOAT:
                raise EngineError(f"the plan's tensor {name} is {kind}, should be float32: build it again")
        conditions = [name for name in names if name != INPUT and modes[name] == trt.TensorIOMode.INPUT]
        context = self._context(self.max_batch)
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in names}
        return (
            {name: shape[1:] for name, shape in shapes.items() if name not in conditions},
            {name: shapes[name] for name in conditions},
        )

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
        context, resources = self._context(batch), self._resources
        for name, (_, array) in (*self._arrays.items(), *self._conditions.items()):
            context.set_tensor_address(name, array.address)

        def enqueue() -> None:
            if not context.execute_async_v3(self.stream):
                raise BackendError(f"TensorRT cannot run {batch} views: {self._logger.reason}")

        enqueue()  # the first run after a change of shape does work that cannot be recorded
        resources.wait()
        launch = resources.record(enqueue)
        self._users[batch] = context  # kept alive for the recorded graph
        return launch


class TensorRt:
    """Plans of TensorRT (plans.Library)."""

    backend = "tensorrt"
    title = "TensorRT"
    version = VERSION
    settings = frozenset({"max_batch", "opt_batch", "hardware", "later_versions", "level", "workspace"})

    def device(self) -> Device:
        return current_gpu()

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> bytes:
        """With something to see while it goes on; kernel timings are kept."""
        from .tensorrt_build import build_with_timings

        kept = folder / f"timings-{slug(self.backend, self.device(), VERSION)}.cache"
        return build_with_timings(graph, settings, kept)

    def open(self, graph: GraphFiles, plan: Built, data: bytes | None, threads: int | None) -> TensorRtSession:  # noqa: ARG002
        return TensorRtSession(plan, data)


def library(_: str) -> TensorRt:
    """See plans.Library."""
    return TensorRt()
