"""What every graph on an NVIDIA GPU has around its run: buffers that stay, one stream, copies from and to the host."""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..core.conditions import Conditions
from ..core.errors import EngineError
from ..core.preprocess import Array8
from ..core.scoring import Floats
from .cuda import DeviceArray, Resources
from .session import in_parts

INPUT = "image"


class GpuSession(ABC):
    """A graph on the GPU (backends.Session). A run of each batch size is prepared once and launched again and again.

    `run` takes views from the host and brings features back. Who has views on the GPU, or wants features there, holds
    `lock`, fills `input`, calls `launch`, and reads `outputs` on `stream`.
    """

    description: str

    def __init__(self, max_batch: int) -> None:
        """max_batch: most views in one launch."""
        self.lock = threading.Lock()
        self.max_batch = max_batch
        self._resources = Resources()
        self._launches: dict[int, Callable[[], Any]] = {}
        self._buffers: dict[str, tuple[int, Array8]] = {}
        self._users: dict[Any, Any] = {}  # of memory and stream: let go before those are freed
        self._close = weakref.finalize(self, _close, self._resources, self._launches, self._users)

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """What fails inside leaves nothing on the GPU. What can fail fails now, not on a frame: batch 1 runs."""
        try:
            yield
            self._launches[1] = self._prepare(1)
        except BaseException:
            self._close()
            raise

    def _allocate(self, shapes: Mapping[str, tuple[int, ...]], conditions: Mapping[str, tuple[int, ...]]) -> None:
        """Buffers for max_batch of INPUT and of every output, by name, of these shapes without the batch; and one for
        every condition."""
        self._outputs = in_order([name for name in shapes if name != INPUT])
        self._arrays = {
            name: self.buffer(name, (self.max_batch, *shapes[name]), np.uint8 if name == INPUT else np.float32)
            for name in (INPUT, *self._outputs)
        }
        self._conditions = {name: self.buffer(name, shape, np.float32) for name, shape in conditions.items()}
        self._conditioned: Conditions | None = None

    def buffer(self, name: str, shape: tuple[int, ...], element: Any) -> tuple[Any, DeviceArray]:
        """An array in page-locked host memory and one on the GPU, kept under a name for the next who asks."""
        kind = np.dtype(element)
        size = math.prod(shape) * kind.itemsize
        room = len(self._buffers[name][1]) if name in self._buffers else 0
        if room < size:  # what was outgrown stays until the end: together no larger than what replaces it
            room = max(size, 2 * room)
            self._buffers[name] = self._resources.device(room), self._resources.pinned(room)
        address, host = self._buffers[name]
        return host[:size].view(kind).reshape(shape), DeviceArray(address, shape, kind.str)

    @abstractmethod
    def _prepare(self, batch: int) -> Callable[[], Any]:
        """Run a batch of this size once; what enqueues the same run again on `stream`."""

    def launch(self, batch: int) -> None:
        """Enqueue a run of the first `batch` views of the input, or do it."""
        if batch not in self._launches:
            self._launches[batch] = self._prepare(batch)
        self._launches[batch]()

    @property
    def stream(self) -> int:
        """The CUDA stream on which everything happens."""
        return int(self._resources.stream)

    def input(self) -> DeviceArray:
        """Where views are read from: uint8 [max_batch,S,S,3]."""
        return self._arrays[INPUT][1]

    def outputs(self, batch: int) -> list[DeviceArray]:
        """Where the features of the last launch are: float32, in the order of Session.run."""
        return [self._arrays[name][1].first(batch) for name in self._outputs]

    def fill(self, views: Array8) -> None:
        """Bring views from the host into the input."""
        host, device = self._arrays[INPUT]
        host[: len(views)] = views
        self.upload(host[: len(views)], device)

    def condition(self, conditions: Conditions | None) -> None:
        """Bring what a prompted graph reads besides views to the GPU, unless it is there: once per change of
        product."""
        if conditions is None or conditions == self._conditioned:
            return
        self._conditioned = None
        for name, (host, device) in self._conditions.items():
            host[...] = conditions.tensors[name]
            self.upload(host, device)
        self._conditioned = conditions

    def upload(self, host: Any, device: DeviceArray) -> None:
        """Copy an array of `buffer` to the GPU."""
        self._resources.upload(device.address, host)

    def download(self, host: Any, device: DeviceArray) -> None:
        """Copy an array of `buffer` from the GPU."""
        self._resources.download(host, device.address)

    def wait(self) -> None:
        """Wait until everything that was enqueued is done."""
        self._resources.wait()

    def run(self, views: Array8, conditions: Conditions | None = None) -> list[Floats]:
        """See Session. More views than fit at once run in turns."""
        return in_parts(views, self.max_batch, lambda some: self._run(some, conditions))

    def _run(self, views: Array8, conditions: Conditions | None) -> list[Floats]:
        batch = len(views)
        arrays = [self._arrays[name] for name in self._outputs]
        if not batch:
            return [host[:0].copy() for host, _ in arrays]
        with self.lock:  # one set of buffers: copied before the next call fills them
            self.condition(conditions)
            self.fill(views)
            self.launch(batch)
            for host, device in arrays:
                self.download(host[:batch], device)
            self.wait()
            return [host[:batch].copy() for host, _ in arrays]


def _close(resources: Resources, *users: dict[Any, Any]) -> None:
    for some in users:
        some.clear()
    resources.close()


def in_order(names: list[str]) -> list[str]:
    """Output names in the graph's order: global, local, memory_0, memory_1 …"""
    memory = sorted((name for name in names if name.startswith("memory_")), key=lambda name: int(name[7:]))
    if sorted(names) != sorted(["global", "local", *memory]):
        raise EngineError(f"the plan gives {', '.join(names)}, not global, local, memory_0 …: build it again")
    return ["global", "local", *memory]
