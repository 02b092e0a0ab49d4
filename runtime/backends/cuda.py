"""The calls of the CUDA runtime that buffers and launches need, through NVIDIA's cuda-python."""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from cuda.bindings import __version__ as BINDINGS_VERSION
from cuda.bindings import runtime as cudart

from ..core.errors import BackendError
from ..core.preprocess import Array8
from .library import Device

DEVICE = 0
"""The first GPU that is visible to the process. CUDA_VISIBLE_DEVICES chooses another."""


def current_gpu() -> Device:
    """Return the GPU that this process uses.

    Raises:
        BackendError: There is no GPU, or its driver is too old.
    """
    properties = call(cudart.cudaGetDeviceProperties, DEVICE)
    name = properties.name.split(b"\0")[0].decode(errors="replace")
    memory = round(properties.totalGlobalMem / (1 << 30))
    return Device(name, (properties.major, properties.minor), properties.multiProcessorCount, memory)


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of cuda-python, and check the error that it returns.

    Args:
        function: The function, which returns (error, values…).
        arguments: The function's arguments.

    Returns:
        The function's value if it returns one, otherwise a tuple of its values.

    Raises:
        BackendError: The function returned an error.
    """
    error, *values = function(*arguments)
    if error != cudart.cudaError_t.cudaSuccess:
        raise BackendError(_explain(error, function.__name__, arguments))
    return values[0] if len(values) == 1 else tuple(values)


def _explain(error: Any, name: str, arguments: tuple[Any, ...]) -> str:
    codes = cudart.cudaError_t
    if error == codes.cudaErrorMemoryAllocation:
        state, free, total = cudart.cudaMemGetInfo()
        available = "" if state != codes.cudaSuccess else f"; {free / 1e6:.0f} of {total / 1e6:.0f} MB are free"
        requested = f"{arguments[0] / 1e6:.1f} MB" if arguments and isinstance(arguments[0], int) else name
        return (
            f"too little GPU memory for {requested}{available}: end other programs that use the GPU, "
            "or build a plan with a smaller --max-batch"
        )
    if error == codes.cudaErrorInsufficientDriver:
        return (
            f"no CUDA driver, or one older than cuda-python {BINDINGS_VERSION} needs: update the driver, or install "
            'the cuda-python of its CUDA version, as in pip install "cuda-python==12.*"'
        )
    if error == codes.cudaErrorNoDevice:
        return "no CUDA GPU is visible: look at nvidia-smi and CUDA_VISIBLE_DEVICES, or choose another backend"
    _, text = cudart.cudaGetErrorString(error)
    return f"CUDA error {error.name} in {name} ({text.decode(errors='replace')}): choose another backend"


@contextlib.contextmanager
def on_gpu() -> Iterator[None]:
    """Send this thread's CUDA calls inside the block to DEVICE. Afterwards the thread's former GPU is current again.

    Inside the block, the thread may allocate, free and wait even while another thread captures a stream. ONNX Runtime
    captures in a mode that covers the whole process. Without the relaxed mode that is set here, those calls would fail
    and end the capture.

    Yields:
        Nothing.

    Raises:
        BackendError: The GPU cannot be used.
    """
    before = call(cudart.cudaGetDevice)
    call(cudart.cudaSetDevice, DEVICE)
    try:
        with _capture_mode(cudart.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed):
            yield
    finally:
        cudart.cudaSetDevice(before)


@contextlib.contextmanager
def _capture_mode(mode: Any) -> Iterator[None]:
    before = call(cudart.cudaThreadExchangeStreamCaptureMode, mode)
    try:
        yield
    finally:
        cudart.cudaThreadExchangeStreamCaptureMode(before)


def seconds_between(start: Any, end: Any) -> float:
    """Return the time between two events, in seconds. The stream must have passed both.

    Args:
        start: The first event.
        end: The second event.
    """
    return float(call(cudart.cudaEventElapsedTime, start, end)) / 1e3


class Resources:
    """Memory, a stream and recorded launches on the GPU. `close` frees them all together. If it is not called, they are
    freed when this object is collected.

    Raises:
        BackendError: The GPU has no memory left, or another CUDA error occurred.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._finalize = weakref.finalize(self, self._stack.close)
        self.stream = call(cudart.cudaStreamCreateWithFlags, cudart.cudaStreamNonBlocking)
        self._later(cudart.cudaStreamDestroy, self.stream)

    def _later(self, free: Callable[..., Any], handle: Any) -> None:
        self._stack.callback(lambda: free(handle))  # an error at this point is ignored

    def close(self) -> None:
        """Free everything, in reverse order."""
        self._finalize()

    def device(self, size: int) -> int:
        """Allocate memory on the GPU.

        Args:
            size: The size, in bytes.

        Returns:
            The address, aligned to 256 bytes.
        """
        address: int = call(cudart.cudaMalloc, size)
        self._later(cudart.cudaFree, address)
        return address

    def pinned(self, size: int) -> Array8:
        """Allocate page-locked host memory, which the GPU reads and writes directly.

        Args:
            size: The size, in bytes.

        Returns:
            The memory, [size], uint8.
        """
        address = call(cudart.cudaMallocHost, size)
        self._later(cudart.cudaFreeHost, address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def upload(self, address: int, data: Array8) -> None:
        """Enqueue a copy from the host to the GPU.

        Args:
            address: The address on the GPU.
            data: An array of any shape, contiguous and in pinned memory.
        """
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(cudart.cudaMemcpyAsync, address, data.ctypes.data, data.nbytes, kind, self.stream)

    def download(self, data: Array8, address: int) -> None:
        """Enqueue a copy from the GPU to the host.

        Args:
            data: An array of any shape, contiguous and in pinned memory.
            address: The address on the GPU.
        """
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        call(cudart.cudaMemcpyAsync, data.ctypes.data, address, data.nbytes, kind, self.stream)

    def copy(self, to: int, address: int, size: int) -> None:
        """Enqueue a copy from one place on the GPU to another.

        Args:
            to: The address to write to.
            address: The address to read from.
            size: The size, in bytes.
        """
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        call(cudart.cudaMemcpyAsync, to, address, size, kind, self.stream)

    def event(self) -> Any:
        """Create an event, which records the time at which the stream reaches it.

        Returns:
            The event's handle.
        """
        event = call(cudart.cudaEventCreate)
        self._later(cudart.cudaEventDestroy, event)
        return event

    def mark(self, event: Any) -> None:
        """Enqueue an event.

        Args:
            event: A handle that `event` returned.
        """
        call(cudart.cudaEventRecord, event, self.stream)

    def wait(self) -> None:
        """Wait until all enqueued work is done."""
        call(cudart.cudaStreamSynchronize, self.stream)

    def record(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Record work as a CUDA graph.

        Args:
            enqueue: Puts the work on the stream.

        Returns:
            A function that launches the recorded work again.
        """
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        with _capture_mode(mode):  # in this mode, a call that cannot be recorded is an error
            call(cudart.cudaStreamBeginCapture, self.stream, mode)
            with self._end_capture() as graphs:
                enqueue()
        launchable = call(cudart.cudaGraphInstantiate, graphs[0], 0)
        call(cudart.cudaGraphDestroy, graphs[0])
        self._later(cudart.cudaGraphExecDestroy, launchable)
        stream = self.stream
        return lambda: call(cudart.cudaGraphLaunch, launchable, stream)

    @contextlib.contextmanager
    def _end_capture(self) -> Iterator[list[Any]]:
        """End the capture also if the block raises. A stream that is left capturing could never be used again."""
        graphs: list[Any] = []
        try:
            yield graphs
        except BaseException:
            cudart.cudaStreamEndCapture(self.stream)
            raise
        graphs.append(call(cudart.cudaStreamEndCapture, self.stream))
