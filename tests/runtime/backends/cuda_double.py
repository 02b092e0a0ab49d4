"""A double of cuda-python's `cuda.bindings.runtime`, in host memory."""
# ruff: noqa: N801, N802, N803, N806, N815 - the names are CUDA's

from __future__ import annotations

import ctypes
import enum
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any


@dataclass
class Machine:
    """What the doubles pretend to be, and what they recorded."""

    gpu: str = "Orin"
    capability: tuple[int, int] = (8, 7)
    multiprocessors: int = 16
    memory_gib: int = 15
    version: str = "10.3.0"
    memory: int = 1 << 30
    parse_errors: list[tuple[str, str, str]] = field(default_factory=list)
    build_error: str | None = None
    starts: bool = True
    offset: float = 0.0
    """This is added to every output, as a wrong kernel would do."""
    on_step: Callable[[], None] = lambda: None
    same_capability: bool = False
    """Whether HardwareCompatibilityLevel has SAME_COMPUTE_CAPABILITY. Version 10.3 does not have it."""

    builds: list[dict[str, Any]] = field(default_factory=list)
    kernels: list[bytes] = field(default_factory=list)
    """The compiled kernels of earlier starts that TensorRT-RTX received."""

    failing_run: int = 0
    """The call of execute_async_v3 that returns False, counted from 1; 0 for none."""

    calls: int = 0
    runs: int = 0
    launches: int = 0
    allocated: dict[int, Any] = field(default_factory=dict)
    handles: set[int] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    """The number of calls by kind (allocate, free, wait, upload, download), and the bytes up and the bytes down."""

    foreign: int = 0
    """How often a thread used memory, streams or events while its current device was not the first."""

    capturing: int | None = None
    """The thread whose capture covers the whole process."""

    captures_ended: int = 0
    """The number of captures that a forbidden call ended."""

    threads: threading.local = field(default_factory=threading.local)
    """Each thread's device, and its mode of capture."""

    @contextmanager
    def global_capture(self) -> Iterator[None]:
        """Capture inside the block. Other threads must not allocate, free or wait meanwhile."""
        self.capturing, ended = threading.get_ident(), self.captures_ended
        try:
            yield
        finally:
            self.capturing = None
        if self.captures_ended > ended:
            raise RuntimeError("operation failed due to a previous error during capture")

    @property
    def used(self) -> int:
        return sum(len(block) for block in self.allocated.values())


class Stream:
    def __init__(self) -> None:
        self.queue: list[Callable[[], None]] = []
        self.capture: list[Callable[[], None]] | None = None
        self.thread = 0
        """The thread that captures."""

    def enqueue(self, work: Callable[[], None]) -> None:
        (self.queue if self.capture is None else self.capture).append(work)

    def __int__(self) -> int:
        return id(self)


STREAMS: dict[int, Stream] = {}


def cuda_double(machine: Machine) -> ModuleType:
    """Return cuda.bindings.runtime. Every function returns a tuple whose first element is the error."""

    class cudaError_t(enum.IntEnum):
        cudaSuccess = 0
        cudaErrorMemoryAllocation = 2
        cudaErrorInsufficientDriver = 35
        cudaErrorNoDevice = 100

        cudaErrorStreamCaptureUnsupported = 900

    ok = cudaError_t.cudaSuccess

    def ask(name: str) -> cudaError_t:
        """Count a call. Return an error if it is forbidden because a stream is captured."""
        machine.asked[name] += 1
        machine.foreign += getattr(machine.threads, "device", 0) != 0
        mode = getattr(machine.threads, "mode", 0)
        own = threading.get_ident()
        captures = any(stream.capture is not None and stream.thread == own for stream in STREAMS.values())
        elsewhere = machine.capturing is not None and mode == cudaStreamCaptureMode.cudaStreamCaptureModeGlobal
        if captures or elsewhere:
            machine.captures_ended += 1
            return cudaError_t.cudaErrorStreamCaptureUnsupported
        return ok

    def allocate(size: int, limit: int) -> tuple[Any, ...]:
        assert type(size) is int
        if (error := ask("allocate")) != ok:
            return error, None
        if machine.used + size > limit:
            return cudaError_t.cudaErrorMemoryAllocation, None
        block = (ctypes.c_uint8 * size)()
        machine.allocated[ctypes.addressof(block)] = block
        return ok, ctypes.addressof(block)

    def cudaMalloc(size: int) -> tuple[Any, ...]:
        return allocate(size, machine.memory)

    def cudaMallocHost(size: int) -> tuple[Any, ...]:
        return allocate(size, 1 << 40)

    def cudaGetDevice() -> tuple[Any, ...]:
        return ok, getattr(machine.threads, "device", 0)

    def cudaSetDevice(device: int) -> tuple[Any, ...]:
        machine.threads.device = device
        return (ok,)

    def cudaThreadExchangeStreamCaptureMode(mode: Any) -> tuple[Any, ...]:
        before = getattr(machine.threads, "mode", cudaStreamCaptureMode.cudaStreamCaptureModeGlobal)
        machine.threads.mode = mode
        return ok, before

    def cudaFree(devPtr: int) -> tuple[Any, ...]:
        if (error := ask("free")) != ok:
            return (error,)
        del machine.allocated[devPtr]
        return (ok,)

    def cudaFreeHost(ptr: int) -> tuple[Any, ...]:
        return cudaFree(ptr)

    def cudaMemGetInfo() -> tuple[Any, ...]:
        return ok, machine.memory - machine.used, machine.memory

    def cudaGetDeviceProperties(device: int) -> tuple[Any, ...]:
        if not machine.gpu:
            return cudaError_t.cudaErrorNoDevice, None
        major, minor = machine.capability
        assert device == 0
        size = {"multiProcessorCount": machine.multiprocessors, "totalGlobalMem": machine.memory_gib << 30}
        return ok, SimpleNamespace(name=machine.gpu.encode(), major=major, minor=minor, **size)

    def cudaGetErrorString(error: cudaError_t) -> tuple[Any, ...]:
        return ok, error.name.encode()

    def cudaStreamCreateWithFlags(flags: int) -> tuple[Any, ...]:
        assert flags == 1
        machine.foreign += getattr(machine.threads, "device", 0) != 0
        stream = Stream()
        STREAMS[int(stream)] = stream
        machine.handles.add(id(stream))
        return ok, stream

    def cudaStreamDestroy(stream: Stream) -> tuple[Any, ...]:
        machine.handles.remove(id(stream))
        del STREAMS[int(stream)]
        return (ok,)

    def cudaStreamSynchronize(stream: Stream) -> tuple[Any, ...]:
        assert stream.capture is None
        if (error := ask("wait")) != ok:
            return (error,)
        while stream.queue:
            stream.queue.pop(0)()
        return (ok,)

    def cudaMemcpyAsync(dst: int, src: int, count: int, kind: Any, stream: Stream) -> tuple[Any, ...]:
        for address in (dst, src):
            inside = any(start <= address and address + count <= start + len(block)
                         for start, block in machine.allocated.items())  # fmt: skip
            assert inside, "copies past the end of a buffer"
        if kind is not cudaMemcpyKind.cudaMemcpyDeviceToDevice:
            way = "up" if kind is cudaMemcpyKind.cudaMemcpyHostToDevice else "down"
            machine.asked[f"{way}load"] += 1
            machine.asked[f"bytes {way}"] += count
        stream.enqueue(lambda: ctypes.memmove(dst, src, count) and None)
        return (ok,)

    def cudaStreamBeginCapture(stream: Stream, mode: Any) -> tuple[Any, ...]:
        assert mode is cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        stream.capture, stream.thread = [], threading.get_ident()
        return (ok,)

    def cudaEventCreate() -> tuple[Any, ...]:
        machine.foreign += getattr(machine.threads, "device", 0) != 0
        event = SimpleNamespace(time=None)
        machine.handles.add(id(event))
        return ok, event

    def cudaEventDestroy(event: Any) -> tuple[Any, ...]:
        machine.handles.remove(id(event))
        return (ok,)

    def cudaEventRecord(event: Any, stream: Stream) -> tuple[Any, ...]:
        event.time = None
        stream.enqueue(lambda: setattr(event, "time", time.perf_counter()))
        return (ok,)

    def cudaEventElapsedTime(start: Any, end: Any) -> tuple[Any, ...]:
        return ok, (end.time - start.time) * 1e3

    def cudaStreamEndCapture(stream: Stream) -> tuple[Any, ...]:
        graph, stream.capture = SimpleNamespace(work=stream.capture), None
        machine.handles.add(id(graph))
        return ok, graph

    def cudaGraphInstantiate(graph: Any, flags: int) -> tuple[Any, ...]:
        assert flags == 0
        launchable = SimpleNamespace(work=list(graph.work))
        machine.handles.add(id(launchable))
        return ok, launchable

    def cudaGraphDestroy(graph: Any) -> tuple[Any, ...]:
        machine.handles.remove(id(graph))
        return (ok,)

    def cudaGraphExecDestroy(graphExec: Any) -> tuple[Any, ...]:
        machine.handles.remove(id(graphExec))
        return (ok,)

    def cudaGraphLaunch(graphExec: Any, stream: Stream) -> tuple[Any, ...]:
        machine.launches += 1
        for work in graphExec.work:
            stream.enqueue(work)
        return (ok,)

    class cudaMemcpyKind(enum.IntEnum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2
        cudaMemcpyDeviceToDevice = 3

    class cudaStreamCaptureMode(enum.IntEnum):
        cudaStreamCaptureModeGlobal = 0
        cudaStreamCaptureModeThreadLocal = 1
        cudaStreamCaptureModeRelaxed = 2

    cudaStreamNonBlocking = 1
    module = ModuleType("cuda.bindings.runtime")
    module.__dict__.update({name: value for name, value in locals().items() if name.startswith("cuda")})
    return module
