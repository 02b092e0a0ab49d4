"""A double of goodparts._native.cuda: its kernels on the CPU (cpp_ext/cuda/on_cpu), in the memory of the CUDA double.

As on a GPU, work happens when its stream is waited for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from goodparts.runtime.core.scoring import Features, Floats, Fusion, Learned

from tests.cpp_ext.cuda.devices import OnCpu
from tests.runtime.backends.cuda_double import STREAMS, Machine


class CudaOnCpu:
    """The module. calls: the kernels that ran, in order."""

    def __init__(self, on_cpu: OnCpu, machine: Machine) -> None:
        self.on_cpu = on_cpu
        self.machine = machine
        self.calls: list[str] = []
        self.Bank = Bank
        self.Scorer = self._scorer

    def _scorer(
        self, image_prompts: Any, pixel_prompts: Any, banks: Sequence[Bank], temperature: float, grid: tuple[int, int],
        maximum_of_map: bool, fusion: Fusion, margins: Sequence[Floats], residual_weight: float, max_views: int,
    ) -> Any:  # fmt: skip
        rows = tuple(np.concatenate(bank.parts) for bank in banks)
        maximum: Any = "map" if maximum_of_map else "grid"
        learned = Learned(
            image_prompts, pixel_prompts, rows, temperature, maximum, fusion=fusion, margins=tuple(margins),
            residual_weight=residual_weight,
        )  # fmt: skip

        def run(global_: Any, local: Any, memory: Sequence[Any], out: Sequence[Any], map: None, stream: int) -> None:
            assert map is None
            assert global_.shape[0] <= max_views
            arrays = [self.array(array) for array in (global_, local, *memory)]
            places = [self.array(array) for array in out]

            def score() -> None:
                features = Features(arrays[0], arrays[1], tuple(arrays[2:]), grid)
                scores, _ = self.on_cpu.score(learned, features, banks[0].precision)
                found = [scores.image, scores.grid, *vars(scores.branches).values()]
                for place, values in zip(places, found, strict=True):
                    place[...] = values

            self._enqueue(stream, "score", score)

        return SimpleNamespace(run=run)

    def resize(
        self, frame: Any, size: tuple[int, int], box: tuple[int, int, int, int], format: str, out: Any, stream: int
    ) -> None:
        source, target = self.array(frame), self.array(out)

        def work() -> None:
            target[...] = self.on_cpu.resize(source, size, box, format)

        self._enqueue(stream, "resize", work)

    def _enqueue(self, stream: int, name: str, work: Callable[[], None]) -> None:
        def noted() -> None:
            self.calls.append(name)
            work()

        STREAMS[stream].enqueue(noted)

    def array(self, array: Any) -> Any:
        """What lies at an address, if it lies within something that was allocated."""
        interface = array.__cuda_array_interface__
        kind, (address, _) = np.dtype(interface["typestr"]), interface["data"]
        size = int(np.prod(interface["shape"])) * kind.itemsize
        assert any(
            start <= address and address + size <= start + len(block) for start, block in self.machine.allocated.items()
        )
        block = (ctypes.c_uint8 * size).from_address(address)
        return np.ctypeslib.as_array(block).view(kind).reshape(interface["shape"])


class Bank:
    def __init__(self, width: int, precision: str) -> None:
        assert precision in ("fp16", "bf16", "int8")
        self.width = width
        self.precision = precision
        self.parts: list[Any] = []

    def append(self, rows: Any) -> None:
        assert rows.shape[1] == self.width
        self.parts.append(rows)
