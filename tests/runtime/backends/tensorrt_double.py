"""A double of TensorRT's Python API and of cuda-python, in which ONNX Runtime computes.

Names, parameters and return conventions are those recorded from the real bindings (test_tensorrt_api.py). The double is
strict where the behaviour of the real ones is undefined: work is done when a stream is waited for, not when it is
enqueued; a CUDA graph is invalid after a change of the context it was recorded from; memory is looked up, not
dereferenced.
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort

from tests.runtime.backends.cuda_double import STREAMS, Machine, cuda_double

MODULES = ("cuda", "gpu_session", "onnxruntime_cuda", "tensorrt", "tensorrt_api", "tensorrt_build")


@contextmanager
def installed(machine: Machine) -> Iterator[Machine]:
    """Install the doubles where `import` finds them, and unload the modules of goodparts that use them."""
    cuda = cuda_double(machine)
    bindings = ModuleType("cuda.bindings")
    bindings.__dict__.update(runtime=cuda, __version__="12.9.0")
    doubles = {
        "tensorrt": tensorrt_double(machine),
        "tensorrt_rtx_bindings": tensorrt_double(machine, rtx=True),
        "cuda": ModuleType("cuda"),
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": cuda,
    }
    ours = [f"goodparts.runtime.backends.{name}" for name in MODULES]
    before = {name: sys.modules.pop(name, None) for name in (*doubles, *ours)}
    sys.modules.update(doubles)
    try:
        yield machine
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def tensorrt_double(machine: Machine, rtx: bool = False) -> ModuleType:
    """Return the module `tensorrt`, or with rtx `tensorrt_rtx_bindings`."""

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        STRONGLY_TYPED = 1

    class BuilderFlag(enum.IntEnum):
        TF32 = 7
        VERSION_COMPATIBLE = 13

    class ProfilingVerbosity(enum.IntEnum):
        DETAILED = 2

    class MemoryPoolType(enum.IntEnum):
        WORKSPACE = 0

    levels = {"NONE": 0, "AMPERE_PLUS": 1} | ({"SAME_COMPUTE_CAPABILITY": 2} if machine.same_capability else {})
    HardwareCompatibilityLevel = enum.IntEnum("HardwareCompatibilityLevel", levels)  # type: ignore[misc]  # noqa: N806

    class ComputeCapability(enum.IntEnum):
        SM86 = 86
        SM89 = 89

    class DynamicShapesKernelSpecializationStrategy(enum.IntEnum):
        LAZY = 0
        EAGER = 1

    class TensorIOMode(enum.IntEnum):
        INPUT = 1
        OUTPUT = 2

    class DataType(enum.IntEnum):
        FLOAT = 0
        UINT8 = 5

    class ExecutionContextAllocationStrategy(enum.IntEnum):
        STATIC = 0
        USER_MANAGED = 2

    class ILogger:
        class Severity(enum.IntEnum):
            INTERNAL_ERROR = 0
            ERROR = 1
            WARNING = 2

        def log(self, severity: ILogger.Severity, msg: str) -> None:
            raise NotImplementedError

    class IProgressMonitor:
        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            raise NotImplementedError

        def step_complete(self, phase_name: str, step: int) -> bool:
            raise NotImplementedError

        def phase_finish(self, phase_name: str) -> None:
            raise NotImplementedError

    class IHostMemory(bytes):
        """The real one has the buffer interface."""

    class ITensor:
        def __init__(self, shape: tuple[int, ...]) -> None:
            self._shape = shape

        @property
        def shape(self) -> tuple[int, ...]:
            return self._shape

    class INetworkDefinition:
        _graph = ""

        def get_input(self, index: int) -> ITensor:
            shape = session(self._graph).get_inputs()[index].shape
            return ITensor((-1, *shape[1:]))

    class ParserError:
        def __init__(self, error: tuple[str, str, str]) -> None:
            self._error = error

        def desc(self) -> str:
            return self._error[0]

        def node_operator(self) -> str:
            return self._error[1]

        def node_name(self) -> str:
            return self._error[2]

    class OnnxParser:
        def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
            self._network = network
            self._logger = logger

        def parse_from_file(self, model: str) -> bool:
            assert type(model) is str
            self._network._graph = model
            return not machine.parse_errors

        @property
        def num_errors(self) -> int:
            return len(machine.parse_errors)

        def get_error(self, index: int) -> ParserError:
            return ParserError(machine.parse_errors[index])

    class ITimingCache:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def serialize(self) -> IHostMemory:
            return IHostMemory(b"timings")

    class IOptimizationProfile:
        _shapes: tuple[tuple[int, ...], ...]

        def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:
            assert input == "image"
            self._shapes = (min, opt, max)

    class IBuilderConfig:
        __slots__ = (
            "_cache",
            "_capability",
            "_flags",
            "_pools",
            "_profile",
            "builder_optimization_level",
            "hardware_compatibility_level",
            "num_compute_capabilities",
            "profiling_verbosity",
            "progress_monitor",
        )  # fmt: skip

        def __init__(self) -> None:
            self._flags = {BuilderFlag.TF32}
            self._pools: dict[MemoryPoolType, int] = {}
            self._capability: str | None = None
            self.hardware_compatibility_level = HardwareCompatibilityLevel["NONE"]

        def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool:
            assert (self.num_compute_capabilities, index) == (1, 0)
            self._capability = compute_capability.name
            return True

        def set_flag(self, flag: BuilderFlag) -> None:
            self._flags.add(flag)

        def clear_flag(self, flag: BuilderFlag) -> None:
            self._flags.discard(flag)

        def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
            self._pools[pool] = pool_size

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
            return ITimingCache(serialized_timing_cache) if serialized_timing_cache in (b"", b"timings") else None

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            self._cache = cache
            return not ignore_mismatch

        def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
            self._profile = profile
            return 0

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            self._logger = logger
            if not machine.starts:
                logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35.\nSee the guide.")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            assert flags == 1 << 1
            return INetworkDefinition()

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
            monitor = config.progress_monitor
            monitor.phase_start("Building Engine", None, 4)
            finished = True
            for step in range(4):
                machine.on_step()
                if not monitor.step_complete("Building Engine", step):
                    finished = False
                    break
            monitor.phase_finish("Building Engine")
            if machine.build_error:
                self._logger.log(ILogger.Severity.ERROR, machine.build_error)
            if machine.build_error or not finished:
                return None
            minimum, opt, most = config._profile._shapes
            assert minimum == (1, *most[1:])
            made = {
                "graph": network._graph, "gpu": machine.gpu, "version": machine.version, "max": most[0], "opt": opt[0],
                "flags": sorted(flag.name for flag in config._flags), "level": config.builder_optimization_level,
                "timings": "" if rtx else config._cache.data.decode(),
                "hardware": config.hardware_compatibility_level.name,
                "workspace": config._pools.get(MemoryPoolType.WORKSPACE), "capability": config._capability,
            }  # fmt: skip
            machine.builds.append(made)
            return IHostMemory(b"ftrt" + json.dumps(made).encode())

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger: ILogger) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            made = json.loads(serialized_engine.removeprefix(b"ftrt"))
            compatible = "VERSION_COMPATIBLE" in made["flags"] and self.engine_host_code_allowed
            if made["version"] != machine.version and not compatible:
                self._logger.log(ILogger.Severity.ERROR, "The engine plan file is not compatible with this version.")
                return None
            return ICudaEngine(made, self._logger)

    class ICudaEngine:
        device_memory_size_v2 = 4096

        def __init__(self, made: dict[str, Any], logger: ILogger) -> None:
            self._made = made
            self._logger = logger
            self._session = session(made["graph"])
            image, *self._conditions = self._session.get_inputs()
            outputs = self._session.get_outputs()
            self._shapes = {tensor.name: (-1, *tensor.shape[1:]) for tensor in (image, *outputs)}
            self._shapes |= {tensor.name: tuple(tensor.shape) for tensor in self._conditions}
            self._inputs = [image.name, *(tensor.name for tensor in self._conditions)]

        @property
        def num_io_tensors(self) -> int:
            return len(self._shapes)

        def get_tensor_name(self, index: int) -> str:
            return list(self._shapes)[index]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> DataType:
            return DataType.UINT8 if name == "image" else DataType.FLOAT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._shapes[name]

        def create_execution_context(self, strategy: Any) -> IExecutionContext:
            allocation = strategy._allocation if rtx else strategy
            assert allocation is ExecutionContextAllocationStrategy.USER_MANAGED
            return IExecutionContext(self)

        def create_runtime_config(self) -> IRuntimeConfig:
            return IRuntimeConfig()

    class IRuntimeCache:
        def deserialize(self, blob: bytes) -> bool:
            machine.kernels.append(blob)
            return blob == b"kernels"

        def serialize(self) -> IHostMemory:
            return IHostMemory(b"kernels")

    class IRuntimeConfig:
        __slots__ = ("_allocation", "_cache", "dynamic_shapes_kernel_specialization_strategy")

        def set_execution_context_allocation_strategy(self, strategy: ExecutionContextAllocationStrategy) -> None:
            self._allocation = strategy

        def create_runtime_cache(self) -> IRuntimeCache:
            return IRuntimeCache()

        def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
            self._cache = cache
            return True

    class IExecutionContext:
        def __init__(self, engine: ICudaEngine) -> None:
            self._engine = engine
            self._addresses: dict[str, int] = {}
            self._shape: tuple[int, ...] = ()
            self._changes = 0  # counts the changes of state; a recorded graph depends on the state
            self._settled = -1  # the state that has run once, which must happen before it can be recorded

        def set_device_memory(self, memory: int, size: int) -> None:
            assert size >= self._engine.device_memory_size_v2
            self._scratch = machine.allocated[memory]
            self._changes += 1

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self._shape = shape
            self._changes += 1
            return name == "image" and 1 <= shape[0] <= self._engine._made["max"]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            first, *rest = self._engine._shapes[name]
            return (self._shape[0] if first < 0 else first, *rest)

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            self._changes += 1
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            stream = STREAMS[stream_handle]
            machine.calls += 1
            if machine.calls == machine.failing_run:
                self._engine._logger.log(ILogger.Severity.ERROR, "Cask convolution execution")
                return False
            changes = self._changes
            if stream.capture is None:
                self._settled = changes
            assert self._settled == changes, "recorded before its first run"
            assert self._scratch is not None

            def work() -> None:
                assert self._changes == changes, "the context changed after this was recorded"
                self._compute()

            stream.enqueue(work)
            return True

        def _compute(self) -> None:
            machine.runs += 1
            engine = self._engine
            inputs = {name: self._array(name, np.uint8 if name == "image" else np.float32) for name in engine._inputs}
            names = [name for name in engine._shapes if name not in inputs]
            for name, output in zip(names, engine._session.run(names, inputs), strict=True):
                self._array(name, np.float32)[...] = output + np.float32(machine.offset)

        def _array(self, name: str, kind: Any) -> Any:
            block = np.frombuffer(machine.allocated[self._addresses[name]], dtype=kind)
            shape = self.get_tensor_shape(name)
            return block[: int(np.prod(shape))].reshape(shape)

    if not rtx:
        for owner, member in (
            (IBuilderConfig, "num_compute_capabilities"),
            (IBuilderConfig, "set_compute_capability"),
            (ICudaEngine, "create_runtime_config"),
        ):
            delattr(owner, member)
    module = ModuleType("tensorrt_rtx_bindings" if rtx else "tensorrt")
    only_rtx = ("ComputeCapability", "DynamicShapesKernelSpecializationStrategy", "IRuntimeCache", "IRuntimeConfig")
    names = {name: value for name, value in locals().items() if name[0].isupper()}
    module.__dict__.update({name: value for name, value in names.items() if rtx or name not in only_rtx})
    module.__dict__["__version__"] = machine.version
    return module


def session(graph: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
