"""What an open graph is: views in, features out, on the host or on a GPU."""

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
"""What a graph computes in."""

GraphName = Literal["plain", "prompted"]
"""Which graph of an engine: the plain one reads views only, the prompted one also what a product learned."""

WITH_BF16 = " with bf16"
"""How the description of a session ends that computes in bf16 what its int8 graph does not quantise."""

VIEWS_AT_ONCE = 8
"""Most views in one pass on a CPU: memory use grows with them, and an encoder is no faster for more."""


class Session(Protocol):
    """An open graph."""

    description: str
    """What really runs: library and version, device, precision."""

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        """Run the graph on views uint8 [B,S,S,3] and return its outputs by name.

        conditions: the inputs of a prompted graph besides the views. Several threads may call at once.
        """


@runtime_checkable
class DeviceSession(Session, Protocol):
    """An open graph whose views and features may stay on the GPU: see gpu_session.GpuSession.

    A `turn` lasts from filling the input to the last use of the outputs. Everything but `wait` is enqueued on `stream`.
    """

    max_batch: int
    """Most views in one launch."""

    @property
    def stream(self) -> int:
        """The address of a CUDA stream."""

    def turn(self) -> AbstractContextManager[None]:
        """Keep the buffers and the stream to this thread for one use, with its calls going to their GPU."""

    def input(self) -> DeviceArray:
        """Return where views are read from: uint8 [max_batch,S,S,3]."""

    def fill(self, views: Array8) -> None:
        """Copy views from the host into the input."""

    def condition(self, conditions: Conditions | None) -> None:
        """Copy the conditions of a prompted graph into its inputs, unless they are there."""

    def prepare(self, batch: int) -> None:
        """Prepare runs of `batch` views, which otherwise happens in the first `launch` of so many."""

    def launch(self, batch: int) -> None:
        """Run the first `batch` views of the input."""

    def outputs(self, batch: int) -> dict[str, DeviceArray]:
        """Return where the outputs of the last launch are, by name: float32 [batch,…]."""

    def buffer(self, name: str, shape: tuple[int, ...], element: Any) -> tuple[Any, DeviceArray]:
        """Return an array in page-locked host memory and one on the GPU, kept under a name for the next who asks."""

    def upload(self, host: Any, device: DeviceArray) -> None:
        """Copy an array of `buffer` to the GPU."""

    def download(self, host: Any, device: DeviceArray) -> None:
        """Copy an array of `buffer` from the GPU."""

    def copy(self, to: DeviceArray, array: DeviceArray) -> None:
        """Copy an array on the GPU to another place there."""

    def mark(self) -> None:
        """Note the time at which what was enqueued so far is done."""

    def spans(self) -> list[float]:
        """Return the seconds between one mark of this turn and the next, all of which `wait` has waited for."""

    def wait(self) -> None:
        """Wait until all of it is done."""


def in_parts(views: Array8, at_once: int, run: Callable[[Array8], Outputs]) -> Outputs:
    """Run an encoder on any number of views [B,S,S,3], in parts of nearly one size, and join the outputs.

    at_once: most views in a part; run: runs the encoder on a part.
    """
    parts = [run(part) for part in np.array_split(views, max(1, math.ceil(len(views) / at_once)))]
    return parts[0] if len(parts) == 1 else join_outputs(parts)


def join_outputs(parts: list[Outputs]) -> Outputs:
    """Join the outputs of consecutive runs of one graph, each along its first axis."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
