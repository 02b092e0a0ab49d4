"""A double of goodparts._native.cuda: its kernels run on the CPU (cpp_ext/cuda/on_cpu), in the CUDA double's memory.

As on a GPU, enqueued work is done at the latest when its stream is waited for.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from goodparts.runtime.core.scoring import Features, Floats, Fusion, Learned

from tests.cpp_ext.cuda.devices import PRECISIONS, OnCpu
from tests.runtime.backends.cuda_double import STREAMS, Machine


class CudaOnCpu:
    """The module goodparts._native.cuda.

    Attributes:
        calls: The names of the kernels that ran, in order.
    """

    def __init__(self, on_cpu: OnCpu, machine: Machine) -> None:
        self.on_cpu = on_cpu
        self.machine = machine
        self.calls: list[str] = []
        self.Bank = functools.partial(Bank, on_cpu, machine)
        self.Scorer = self._scorer

    def _scorer(
        self, image_prompts: Any, pixel_prompts: Any, banks: Sequence[Bank], temperature: float, grid: tuple[int, int],
        maximum_of_map: bool, fusion: Fusion, margins: Sequence[Floats], residual_weight: float, max_views: int,
    ) -> Any:  # fmt: skip
        maximum: Any = "map" if maximum_of_map else "grid"
        learned = Learned(
            image_prompts, pixel_prompts, tuple(bank.rows for bank in banks), temperature, maximum, fusion=fusion,
            margins=tuple(margins), residual_weight=residual_weight,
        )  # fmt: skip
        return Scorer(self, learned, banks, grid, max_views)

    def resize(
        self, frame: Any, size: tuple[int, int], box: tuple[int, int, int, int], format: str, out: Any, stream: int
    ) -> None:
        source, target = self.array(frame), self.array(out)

        assert target.shape == (*size, 3)
        self.enqueue(stream, "resize", lambda: self.on_cpu.resize_to(target, source, box, format))

    def enqueue(self, stream: int, name: str, work: Callable[[], None]) -> None:
        def noted() -> None:
            self.calls.append(name)
            work()

        STREAMS[stream].enqueue(noted)

    def array(self, array: Any) -> Any:
        """Return the array at an address. It must lie inside of allocated memory."""
        interface = array.__cuda_array_interface__
        kind, (address, _) = np.dtype(interface["typestr"]), interface["data"]
        size = int(np.prod(interface["shape"])) * kind.itemsize
        assert any(
            start <= address and address + size <= start + len(block) for start, block in self.machine.allocated.items()
        )
        block = (ctypes.c_uint8 * size).from_address(address)
        return np.ctypeslib.as_array(block).view(kind).reshape(interface["shape"])


class Bank:
    def __init__(self, on_cpu: OnCpu, machine: Machine, width: int, precision: str) -> None:
        machine.foreign += getattr(machine.threads, "device", 0) != 0
        self.on_cpu, self.width, self.rows = on_cpu, width, np.empty((0, width), np.float32)
        self.handle = ctypes.c_void_p()
        on_cpu.call("make_bank", width, PRECISIONS.index(precision), ctypes.byref(self.handle))
        weakref.finalize(self, on_cpu.emulation.free_bank, self.handle)

    def append(self, rows: Floats) -> None:
        self.on_cpu.append(self.handle.value, rows)
        self.rows = np.concatenate([self.rows, rows])


class Scorer:
    def __init__(
        self, module: CudaOnCpu, learned: Learned, banks: Sequence[Bank], grid: tuple[int, int], max_views: int
    ) -> None:
        self.module, self.banks, self.grid = module, banks, grid  # keeps the banks alive
        self.handle = ctypes.c_void_p()
        handles = (ctypes.c_void_p * len(banks))(*(bank.handle.value for bank in banks))
        arguments = (*module.on_cpu.product(learned, handles, grid), max_views, ctypes.byref(self.handle))
        module.on_cpu.call("make_scorer", *arguments)
        weakref.finalize(self, module.on_cpu.emulation.free_scorer, self.handle)

    def run(self, global_: Any, local: Any, memory: Sequence[Any], out: Sequence[Any], stream: int) -> None:
        arrays = [self.module.array(array) for array in (global_, local, *memory)]
        places = [self.module.array(array) for array in out]
        features = Features(arrays[0], arrays[1], tuple(arrays[2:]), self.grid)
        self.module.enqueue(stream, "score", lambda: self.module.on_cpu.run_scorer(self.handle, features, places))
