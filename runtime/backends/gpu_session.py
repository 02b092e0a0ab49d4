"""The base class of open graphs on an NVIDIA GPU: permanent buffers, one stream, copies from and to the host."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..core.conditions import Conditions
from ..core.errors import BackendError
from ..core.preprocess import Array8
from .cuda import Resources, on_gpu, seconds_between
from .device_array import DeviceArray
from .session import in_parts
from .tensors import IMAGE, Outputs, split_outputs

HostAndDevice = tuple[Any, DeviceArray]
"""An array in page-locked host memory and its counterpart on the GPU."""


class GpuSession(ABC):
    """An open graph on the GPU (session.DeviceSession). Each batch size is prepared once and then launched many times.

    `run` takes views from the host and returns outputs on the host. A caller whose views are on the GPU, or that needs
    the outputs there, takes its `turn`, fills `input`, calls `launch`, and reads `outputs` on `stream`.

    A subclass must be constructed inside `on_gpu`, call `_allocate` inside `_opening`, and implement `_prepare`, which
    runs a batch.

    Args:
        max_batch: The most views in one launch.
    """

    description: str

    def __init__(self, max_batch: int) -> None:
        self._lock = threading.Lock()
        self.max_batch = max_batch
        self._resources = Resources()
        self._launches: dict[int, Callable[[], Any]] = {}
        self._buffers: dict[str, tuple[int, Array8]] = {}
        self._events: list[Any] = []
        self._marked = 0
        self._users: dict[Any, Any] = {}  # objects that use memory and stream, and are released before them
        self._close = weakref.finalize(self, _close, self._resources, self._launches, self._users)

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Open the graph inside this context. If that fails, nothing stays on the GPU.

        At the end one view is run, so that a fault is found now and not at the first frame.
        """
        try:
            yield
            self.prepare(1)
        except BaseException:
            self._close()
            raise

    def _allocate(self, shapes: Mapping[str, tuple[int, ...]], conditions: Mapping[str, tuple[int, ...]]) -> None:
        """Allocate the buffers of every tensor of the graph.

        Args:
            shapes: The shapes of the input and of every output, by name, without the batch.
            conditions: The shapes of the other inputs, by name.
        """
        self._input = self.buffer(IMAGE, (self.max_batch, *shapes[IMAGE]), np.uint8)
        self._outputs = {
            name: self.buffer(name, (self.max_batch, *shape), np.float32)
            for name, shape in shapes.items()
            if name != IMAGE
        }
        split_outputs(self._outputs)  # raises unless the names are those of an encoder
        self._conditions = {name: self.buffer(name, shape, np.float32) for name, shape in conditions.items()}
        self._conditioned: Conditions | None = None

    def buffer(self, name: str, shape: tuple[int, ...], element: Any) -> HostAndDevice:
        kind = np.dtype(element)
        size = math.prod(shape) * kind.itemsize
        room = len(self._buffers[name][1]) if name in self._buffers else 0
        if room < size:  # outgrown buffers stay until the end; together they are no larger than the last one
            room = max(size, 2 * room)
            self._buffers[name] = self._resources.device(room), self._resources.pinned(room)
        address, host = self._buffers[name]
        return host[:size].view(kind).reshape(shape), DeviceArray(address, shape, kind.str)

    @abstractmethod
    def _prepare(self, batch: int) -> Callable[[], Any]:
        """Run a batch of this size once, and return a function that enqueues the same run again on `stream`."""

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        with self._lock, on_gpu():
            self._marked = 0
            yield

    def prepare(self, batch: int) -> None:
        if batch not in self._launches:
            self._launches[batch] = self._prepare(batch)

    def launch(self, batch: int) -> None:
        self.prepare(batch)
        self._launches[batch]()

    @property
    def stream(self) -> int:
        return int(self._resources.stream)

    def input(self) -> DeviceArray:
        return self._input[1]

    def outputs(self, batch: int) -> dict[str, DeviceArray]:
        return {name: device.first(batch) for name, (_, device) in self._outputs.items()}

    def fill(self, views: Array8) -> None:
        host, device = self._input
        host[: len(views)] = views
        self.upload(host[: len(views)], device)

    def condition(self, conditions: Conditions | None) -> None:
        if conditions is None or conditions == self._conditioned:
            return
        self._conditioned = None
        for name, (host, device) in self._conditions.items():
            host[...] = conditions.tensors[name]
            self.upload(host, device)
        self._conditioned = conditions

    def upload(self, host: Any, device: DeviceArray) -> None:
        self._resources.upload(device.address, host)

    def download(self, host: Any, device: DeviceArray) -> None:
        self._resources.download(host, device.address)

    def copy(self, to: DeviceArray, array: DeviceArray) -> None:
        self._resources.copy(to.address, array.address, array.nbytes)

    def mark(self) -> None:
        if self._marked == len(self._events):
            self._events.append(self._resources.event())
        self._resources.mark(self._events[self._marked])
        self._marked += 1

    def spans(self) -> list[float]:
        return [seconds_between(start, end) for start, end in itertools.pairwise(self._events[: self._marked])]

    def wait(self) -> None:
        self._resources.wait()

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        return in_parts(views, self.max_batch, lambda part: self._run(part, conditions))

    def _run(self, views: Array8, conditions: Conditions | None) -> Outputs:
        batch = len(views)
        if not batch:
            return {name: host[:0].copy() for name, (host, _) in self._outputs.items()}
        with self.turn():  # there is one set of buffers, so results are copied before the next call fills them
            self.condition(conditions)
            self.fill(views)
            self.launch(batch)
            for host, device in self._outputs.values():
                self.download(host[:batch], device)
            self.wait()
            return {name: host[:batch].copy() for name, (host, _) in self._outputs.items()}


def _close(resources: Resources, *owners: dict[Any, Any]) -> None:
    with contextlib.ExitStack() as here:
        with contextlib.suppress(BackendError):  # the GPU may be lost
            here.enter_context(on_gpu())
        for owner in owners:
            owner.clear()
        resources.close()
