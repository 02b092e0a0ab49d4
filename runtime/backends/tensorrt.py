"""NVIDIA TensorRT, 10.3 and later, and TensorRT-RTX. Both run plans that `goodparts build` made.

TensorRT-RTX runs on the GPUs of PCs. It can build without a GPU, for a given compute capability. It compiles the
kernels on the machine where the plan first runs.

No plan has run on a GPU yet. The tests in tests/runtime/backends use a test double of their Python API, and
build with the real TensorRT-RTX if it is installed.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, EngineError, FileError
from ..core.files import cache_folder, read_bytes, write_atomic
from .cuda import current_gpu, on_gpu
from .gpu_session import GpuSession
from .library import BuildSettings, BuiltPlan, Device, GraphFiles, slug
from .tensorrt_api import TensorRtApi
from .tensorrt_build import Progress, build, build_with_timings
from .tensors import IMAGE

log = logging.getLogger(__name__)


class TensorRtSession(GpuSession):
    """A plan on the GPU, with one CUDA graph for each batch size.

    A CUDA graph belongs to the execution context from which it was recorded, and that context must not change
    afterwards. So each batch size has a context of its own. They run one at a time and share one block of scratch
    memory.

    Args:
        api: The library that built the plan.
        backend: The backend's name.
        plan: The plan's record.
        data: The plan's bytes.

    Raises:
        BackendError: The library refuses the plan, or the GPU has too little memory.
        EngineError: A tensor of the plan has a type that goodparts does not read or write.
    """

    def __init__(self, api: TensorRtApi, backend: str, plan: BuiltPlan, data: bytes | None) -> None:
        self._api, self._logger = api, api.Logger()
        runtime = api.create(api.trt.Runtime, self._logger, logger=self._logger, failed="does not start")
        # A plan for later versions contains host code. It is trusted as much as the folder in which it lies.
        runtime.engine_host_code_allowed = plan.later_versions
        self._engine = api.create(
            runtime.deserialize_cuda_engine, data, logger=self._logger, failed=f"cannot load {plan.name}"
        )
        self.description = f"{backend} {api.version} {current_gpu().name} {plan.precision}"
        super().__init__(plan.max_batch or 1)
        with self._opening():
            self._scratch_size = int(self._engine.device_memory_size_v2)
            self._scratch = self._resources.device(max(self._scratch_size, 1))
            self._allocate(*self._shapes())

    def _shapes(self) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
        """Return the shapes of the input and the outputs, without the batch, and the shapes of the conditions.

        Raise EngineError if a tensor has a type that goodparts does not read or write.
        """
        engine, trt = self._engine, self._api.trt
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        if modes.get(IMAGE) != trt.TensorIOMode.INPUT or engine.get_tensor_dtype(IMAGE) != trt.DataType.UINT8:
            raise EngineError(f"the plan has no uint8 input {IMAGE!r} (it has {', '.join(names)}): build it again")
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

    def _context_settings(self) -> Any:
        """Return the argument for creating a context: the context must not allocate scratch memory of its own."""
        return self._api.trt.ExecutionContextAllocationStrategy.USER_MANAGED

    def _context(self, batch: int) -> Any:
        """Create an execution context for one batch size, on the shared scratch memory."""
        context = self._api.create(
            self._engine.create_execution_context,
            self._context_settings(),
            logger=self._logger,
            failed="cannot run the plan",
        )
        context.set_device_memory(self._scratch, self._scratch_size)
        shape = (batch, *tuple(self._engine.get_tensor_shape(IMAGE))[1:])
        if not context.set_input_shape(IMAGE, shape):
            raise BackendError(f"{self._api.title} refuses views of {list(shape)}: {self._logger.reason}")
        return context

    def _prepare(self, batch: int) -> Callable[[], Any]:
        context, resources = self._context(batch), self._resources
        buffers = {IMAGE: self._input, **self._conditions, **self._outputs}
        for name, (_, array) in buffers.items():
            context.set_tensor_address(name, array.address)

        def enqueue() -> None:
            if not context.execute_async_v3(self.stream):
                raise BackendError(f"{self._api.title} cannot run {batch} views: {self._logger.reason}")

        enqueue()  # the first run with a new shape does work that cannot be recorded
        resources.wait()
        launch = resources.record(enqueue)
        self._users[batch] = context  # kept alive for the recorded graph
        return launch


class TensorRtRtxSession(TensorRtSession):
    """A plan of TensorRT-RTX. Its kernels are compiled on this machine and kept in a file in the user's cache.

    Args:
        api: The library that built the plan.
        backend: The backend's name.
        plan: The plan's record.
        data: The plan's bytes.
    """

    def __init__(self, api: TensorRtApi, backend: str, plan: BuiltPlan, data: bytes | None) -> None:
        self._kernels: Any = None
        self._kernels_file = cache_folder() / "tensorrt-rtx" / f"{slug(plan.name, current_gpu(), api.version)}.kernels"
        super().__init__(api, backend, plan, data)

    def _context_settings(self) -> Any:
        """Return the argument for creating a context. It makes the library compile kernels before a run is recorded."""
        trt = self._api.trt
        settings = self._engine.create_runtime_config()
        settings.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        settings.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        if self._kernels is None:
            self._kernels = settings.create_runtime_cache()
            if self._kernels_file.is_file():  # kernels that no longer fit this machine are compiled again
                self._kernels.deserialize(read_bytes(self._kernels_file))
        settings.set_runtime_cache(self._kernels)
        return settings

    def _prepare(self, batch: int) -> Callable[[], Any]:
        launch = super()._prepare(batch)
        try:
            self._kernels_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._kernels_file, bytes(self._kernels.serialize()))
        except (OSError, FileError) as error:  # the next start compiles again
            log.info("the compiled kernels are not kept: %s", error)
        return launch


class TensorRt:
    """TensorRT as a library that runs plans (library.Library)."""

    backend, title = "tensorrt", "TensorRT"
    settings = frozenset({"max_batch", "opt_batch", "hardware", "later_versions", "level", "workspace"})
    _module = "tensorrt"
    _session = TensorRtSession

    def __init__(self) -> None:
        self._api = TensorRtApi(self._module, self.title)
        self.version = self._api.version

    def device(self) -> Device:
        return current_gpu()

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> bytes:
        timings = folder / f"timings-{slug(self.backend, self.device(), self.version)}.cache"
        with on_gpu():
            return build_with_timings(self._api, graph, settings, timings)

    def open(
        self,
        graph: GraphFiles,  # noqa: ARG002
        plan: BuiltPlan,
        data: bytes | None,
        threads: int | None,  # noqa: ARG002
    ) -> TensorRtSession:
        with on_gpu():
            return self._session(self._api, self.backend, plan, data)


class TensorRtRtx(TensorRt):
    """TensorRT-RTX as a library that runs plans (library.Library). A plan fits every GPU of its compute capability."""

    backend, title = "tensorrt-rtx", "TensorRT-RTX"
    settings = frozenset({"max_batch", "opt_batch", "capability"})
    _module = "tensorrt_rtx_bindings"
    _session = TensorRtRtxSession

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> bytes:  # noqa: ARG002
        capability = settings.capability or self.device().capability
        settings = dataclasses.replace(settings, capability=capability)
        return build(self._api, graph.path, settings, Progress(f"building {graph.precision}"))[0]


def library(backend: str) -> TensorRt:
    """Return the library of a backend (registry.open_library).

    Args:
        backend: The backend's name.
    """
    return TensorRtRtx() if backend == TensorRtRtx.backend else TensorRt()
