"""NVIDIA TensorRT, 10.3 and later: runs a plan that `goodparts build` made.

Not run on a real TensorRT yet: tests/runtime/backends drives it through a double of its Python API.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorrt as trt

from ..core.errors import BackendError, EngineError
from .cuda import current_gpu
from .gpu_session import GpuSession
from .library import BuildSettings, BuiltPlan, Device, GraphFiles, slug
from .tensorrt_build import build_with_timings
from .tensorrt_calls import VERSION, Logger, create
from .tensors import IMAGE


class TensorRtSession(GpuSession):
    """A plan on the GPU: per batch size one CUDA graph.

    A graph belongs to the execution context it was recorded from, which must not change afterwards; so each batch
    size has a context of its own. They run one at a time and share one block of scratch memory.
    """

    def __init__(self, plan: BuiltPlan, data: bytes | None) -> None:
        """Raises BackendError for a plan that TensorRT refuses or a GPU with too little memory."""
        self._logger = Logger()
        runtime = create(trt.Runtime, self._logger, logger=self._logger, failed="does not start")
        # A plan for later versions carries host code of its own; it is as trusted as the folder it lies in.
        runtime.engine_host_code_allowed = plan.later_versions
        self._engine = create(
            runtime.deserialize_cuda_engine, data, logger=self._logger, failed=f"cannot load {plan.name}"
        )
        self.description = f"tensorrt {VERSION} {plan.device.name} {plan.precision}"
        super().__init__(plan.max_batch or 1)
        with self._opening():
            self._scratch_size = int(self._engine.device_memory_size_v2)
            self._scratch = self._resources.device(max(self._scratch_size, 1))
            self._allocate(*self._shapes())

    def _shapes(self) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
        """Return the shapes of the input and the outputs, without the batch, and of the conditions.

        Raises EngineError where a tensor has another type than goodparts reads and writes.
        """
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        if modes.get(IMAGE) != trt.TensorIOMode.INPUT or engine.get_tensor_dtype(IMAGE) != trt.DataType.UINT8:
            raise EngineError(f"the plan reads no uint8 tensor {IMAGE!r} but {', '.join(names)}: build it again")
        for name in names:
            kind = engine.get_tensor_dtype(name)
            if name != IMAGE and kind != trt.DataType.FLOAT:
                raise EngineError(f"the plan's tensor {name} is {kind}, should be float32: build it again")
        conditions = [name for name in names if name != IMAGE and modes[name] == trt.TensorIOMode.INPUT]
        context = self._context(self.max_batch)
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in names}
        return (
            {name: shape[1:] for name, shape in shapes.items() if name not in conditions},
            {name: shapes[name] for name in conditions},
        )

    def _context(self, batch: int) -> trt.IExecutionContext:
        """Create an execution context for one batch size, on the shared scratch memory."""
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = create(
            self._engine.create_execution_context, strategy, logger=self._logger, failed="cannot run the plan"
        )
        context.set_device_memory(self._scratch, self._scratch_size)
        shape = (batch, *tuple(self._engine.get_tensor_shape(IMAGE))[1:])
        if not context.set_input_shape(IMAGE, shape):
            raise BackendError(f"TensorRT refuses views of {list(shape)}: {self._logger.reason}")
        return context

    def _prepare(self, batch: int) -> Callable[[], Any]:
        context, resources = self._context(batch), self._resources
        buffers = {IMAGE: self._input, **self._conditions, **self._outputs}
        for name, (_, array) in buffers.items():
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
    """TensorRT as a library that runs plans (library.Library)."""

    backend = "tensorrt"
    title = "TensorRT"
    version = VERSION
    settings = frozenset({"max_batch", "opt_batch", "hardware", "later_versions", "level", "workspace"})

    def device(self) -> Device:
        return current_gpu()

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> bytes:
        timings = folder / f"timings-{slug(self.backend, self.device(), VERSION)}.cache"
        return build_with_timings(graph, settings, timings)

    def open(self, graph: GraphFiles, plan: BuiltPlan, data: bytes | None, threads: int | None) -> TensorRtSession:  # noqa: ARG002
        return TensorRtSession(plan, data)


def library(_: str) -> TensorRt:
    """Return the library behind a backend (registry.AUTO)."""
    return TensorRt()
