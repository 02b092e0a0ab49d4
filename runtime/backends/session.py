"""The interface of an open graph: it takes views and returns features, on the host or on a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from ..core.conditions import Conditions
from ..core.preprocess import Array8
from .device_array import DeviceArray
from .tensors import Outputs

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""The number format in which a graph computes."""

GraphName = Literal["plain", "prompted"]
"""The graphs of an engine: the plain graph reads only views, the prompted graph reads a product's conditions too."""

WITH_BF16 = " with bf16"
"""The end of Session.description if the operations that an int8 graph does not quantise are computed in bf16."""

VIEWS_AT_ONCE = 8
"""The most views in one run on a CPU. More views need more memory, and do not make an encoder faster."""


class Session(Protocol):
    """An open graph."""

    description: str
    """What runs: library and version, device, precision."""

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        """Run the graph. Several threads may call at once; more views than fit in one run are run in parts.

        Args:
            views: The views, [count, size, size, 3], uint8, RGB.
            conditions: The further inputs of a prompted graph; None for a plain graph.

        Returns:
            The outputs by name.

        Raises:
            BackendError: The library fails.
        """


@runtime_checkable
class DeviceSession(Session, Protocol):
    """An open graph whose views and features may stay on the GPU (see gpu_session.GpuSession).

    A `turn` lasts from filling the input to the last use of the outputs. Everything but `wait` is enqueued on `stream`.
    """

    max_batch: int
    """The most views in one launch."""

    @property
    def stream(self) -> int:
        """The address of the CUDA stream on which everything is enqueued."""

    def turn(self) -> AbstractContextManager[None]:
        """Reserve buffers and stream for this thread, and send its CUDA calls to their GPU.

        Returns:
            A context, which is entered for the turn.
        """

    def input(self) -> DeviceArray:
        """Return the array that views are read from, [max_batch, size, size, 3], uint8."""

    def fill(self, views: Array8) -> None:
        """Enqueue a copy of views from the host into the input.

        Args:
            views: The views, [count, size, size, 3], uint8, RGB.
        """

    def condition(self, conditions: Conditions | None) -> None:
        """Enqueue a copy of the conditions of a prompted graph into its inputs, unless they are there already.

        Args:
            conditions: The conditions; None for a plain graph.
        """

    def prepare(self, batch: int) -> None:
        """Prepare runs of a batch size. Without this call, the first `launch` of that size does it.

        Args:
            batch: The number of views.
        """

    def launch(self, batch: int) -> None:
        """Enqueue a run of the first views of the input. Some libraries also wait until it is done.

        Args:
            batch: The number of views.
        """

    def outputs(self, batch: int) -> dict[str, DeviceArray]:
        """Return the arrays that hold the outputs of the last launch, by name: [batch, …], float32.

        Args:
            batch: The number of views of that launch.
        """

    def buffer(self, name: str, shape: tuple[int, ...], element: Any) -> tuple[Any, DeviceArray]:
        """Return an array in page-locked host memory and one on the GPU.

        They are kept under their name: a later call with this name returns the same memory, or larger memory if the
        new shape needs it.

        Args:
            name: The buffer's name.
            shape: The shape of both arrays.
            element: The type of the elements, as numpy accepts it.
        """

    def upload(self, host: Any, device: DeviceArray) -> None:
        """Enqueue a copy of an array of `buffer` to the GPU.

        Args:
            host: The array on the host.
            device: The array on the GPU.
        """

    def download(self, host: Any, device: DeviceArray) -> None:
        """Enqueue a copy of an array of `buffer` from the GPU.

        Args:
            host: The array on the host.
            device: The array on the GPU.
        """

    def copy(self, to: DeviceArray, array: DeviceArray) -> None:
        """Enqueue a copy of an array on the GPU to another place there.

        Args:
            to: The array to write to.
            array: The array to read.
        """

    def mark(self) -> None:
        """Record the time at which the work that was enqueued so far is done."""

    def spans(self) -> list[float]:
        """Return the seconds between consecutive marks of this turn. Call `wait` first."""

    def wait(self) -> None:
        """Wait until all enqueued work is done."""


def in_parts(views: Array8, at_once: int, run: Callable[[Array8], Outputs]) -> Outputs:
    """Run an encoder on any number of views, in parts of nearly equal size.

    Args:
        views: The views, [count, size, size, 3], uint8, RGB.
        at_once: The most views in a part.
        run: Runs the encoder on a part.

    Returns:
        The outputs of all views, by name.
    """
    parts = [run(part) for part in np.array_split(views, max(1, math.ceil(len(views) / at_once)))]
    return parts[0] if len(parts) == 1 else join_outputs(parts)


def join_outputs(parts: list[Outputs]) -> Outputs:
    """Join the outputs of consecutive runs of one graph.

    Args:
        parts: The outputs of each run.

    Returns:
        The outputs by name, joined along the first axis.
    """
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
