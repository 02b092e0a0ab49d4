"""What every open graph on an NVIDIA GPU has: buffers that stay, one stream, copies from and to the host."""

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
    """An open graph on the GPU (session.DeviceSession). Each batch size is prepared once and launched again and again.

    `run` takes views from the host and brings outputs back. A caller with views on the GPU, or that needs the outputs
    there, takes its `turn`, fills `input`, calls `launch`, and reads `outputs` on `stream`.

    A subclass is made `on_gpu`, calls `_allocate` inside `_opening`, and implements `_prepare`, which runs a batch.
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
        self._users: dict[Any, Any] = {}  # what uses memory and stream: let go before those are freed
        self._close = weakref.finalize(self, _close, self._resources, self._launches, self._users)

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Open the graph inside this context: a failure leaves nothing on the GPU.

        At its end a batch of one view runs, so that what can fail fails now and not on a frame.
        """
        try:
            yield
            self.prepare(1)
        except BaseException:
            self._close()
            raise

    def _allocate(self, shapes: Mapping[str, tuple[int, ...]], conditions: Mapping[str, tuple[int, ...]]) -> None:
        """Make the buffers of every tensor of the graph.

        shapes: of the input and of every output, by name, without the batch; conditions: of the other inputs.
        """
        self._input = self.buffer(IMAGE, (self.max_batch, *shapes[IMAGE]), np.uint8)
        self._outputs = {
            name: self.buffer(name, (self.max_batch, *shape), np.float32)
            for name, shape in shapes.items()
            if name != IMAGE
        }
        split_outputs(self._outputs)  # refuses other names than an encoder's
        self._conditions = {name: self.buffer(name, shape, np.float32) for name, shape in conditions.items()}
        self._conditioned: Conditions | None = None

    def buffer(self, name: str, shape: tuple[int, ...], element: Any) -> HostAndDevice:
        """Return an array in page-locked host memory and one on the GPU, kept under a name for the next who asks."""
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
        """Run a batch of this size once, and return what enqueues the same run again on `stream`."""

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Keep the buffers and the stream to this thread for one use, with its calls going to their GPU."""
        with self._lock, on_gpu():
            self._marked = 0
            yield

    def prepare(self, batch: int) -> None:
        """Prepare runs of `batch` views, which otherwise happens in the first `launch` of so many."""
        if batch not in self._launches:
            self._launches[batch] = self._prepare(batch)

    def launch(self, batch: int) -> None:
        """Enqueue a run of the first `batch` views of the input; a library may also wait for its end."""
        self.prepare(batch)
        self._launches[batch]()

    @property
    def stream(self) -> int:
        """The address of the CUDA stream on which everything happens."""
        return int(self._resources.stream)

    def input(self) -> DeviceArray:
        """Return where views are read from: uint8 [max_batch,S,S,3]."""
        return self._input[1]

    def outputs(self, batch: int) -> dict[str, DeviceArray]:
        """Return where the outputs of the last launch are, by name: float32 [batch,…]."""
        return {name: device.first(batch) for name, (_, device) in self._outputs.items()}

    def fill(self, views: Array8) -> None:
        """Copy views from the host into the input."""
        host, device = self._input
        host[: len(views)] = views
        self.upload(host[: len(views)], device)

    def condition(self, conditions: Conditions | None) -> None:
        """Copy the conditions of a prompted graph to the GPU, unless they are there: once per change of product."""
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

    def copy(self, to: DeviceArray, array: DeviceArray) -> None:
        """Copy an array on the GPU to another place there."""
        self._resources.copy(to.address, array.address, array.nbytes)

    def mark(self) -> None:
        """Note the time at which what was enqueued so far is done."""
        if self._marked == len(self._events):
            self._events.append(self._resources.event())
        self._resources.mark(self._events[self._marked])
        self._marked += 1

    def spans(self) -> list[float]:
        """Return the seconds between one mark of this turn and the next, all of which `wait` has waited for."""
        return [seconds_between(start, end) for start, end in itertools.pairwise(self._events[: self._marked])]

    def wait(self) -> None:
        """Wait until everything that was enqueued is done."""
        self._resources.wait()

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        """Run the graph (session.Session). More views than fit at once run in turns."""
        return in_parts(views, self.max_batch, lambda part: self._run(part, conditions))

    def _run(self, views: Array8, conditions: Conditions | None) -> Outputs:
        batch = len(views)
        if not batch:
            return {name: host[:0].copy() for name, (host, _) in self._outputs.items()}
        with self.turn():  # one set of buffers: copied before the next call fills them
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
