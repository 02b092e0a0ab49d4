"""The device code on two devices, and what its tests compare it with.

On the CPU (cpp_ext/cuda/on_cpu) the tests find errors in indices, barriers, fragments and waits. Only on a GPU can they
show that a GPU gives the same results.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import numpy.typing as npt
import pytest
from goodparts.runtime.core.scoring import Branches, Features, Floats, Fusion, Learned, Scores

from goodparts import _native

PRECISIONS = ("fp16", "bf16", "int8")
TYPES = ("float32", "float16", "bfloat16")
FUSIONS = tuple(fusion for fusion in get_args(Fusion) if fusion != "subspace")  # the kernels do not support subspace
FORMATS = ("rgb", "bgr", "grey", "nv12", "yuyv")
ORDERS = ("forwards", "backwards", "shuffled")
MODES = ("global", "thread-local", "relaxed")
"""The modes of a capture. They tell which threads may not allocate during it."""

Array = npt.NDArray[Any]
Found = list[tuple[Floats, npt.NDArray[np.int64]]]


class Device(Protocol):
    """The tested functions, with numpy's arrays. `banks`: for each bank the parts that are appended to it."""

    def search(self, banks: Sequence[Sequence[Array]], queries: Sequence[Array], precision: str) -> Found: ...

    def score(self, learned: Learned, features: Features, precision: str) -> Scores: ...

    def resize(self, frame: Array, size: tuple[int, int], box: Sequence[int] | None, form: str) -> Array: ...


class Box(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("x", "y", "width", "height")]


class Frame(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("data", "chroma")),
        *((name, ctypes.c_int64) for name in ("width", "height", "stride", "chroma_stride")),
        ("format", ctypes.c_int),
    ]


class Counts(ctypes.Structure):
    """Allocations and launches on each device; in all, frees, waits of the host, bytes copied to and from devices."""

    _fields_ = [
        *((name, ctypes.c_int64 * 2) for name in ("allocations", "launches")),
        *((name, ctypes.c_int64) for name in ("frees", "waits", "up", "down")),
    ]


def pointer(array: Array | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def pointers(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


class OnCpu:
    """cpp_ext/cuda, compiled by a C++ compiler and called through ctypes."""

    def __init__(self, library: Path) -> None:
        self.emulation = ctypes.CDLL(str(library))
        self.set_device()

    def set_device(self, order: str = "forwards", processors: int = 4, shared: int = 99 << 10, major: int = 8) -> None:
        self.emulation.set_device(ORDERS.index(order), processors, shared, major)

    def call(self, name: str, *arguments: object) -> None:
        function = getattr(self.emulation, name)
        function.restype = ctypes.c_char_p
        message = function(*(ctypes.c_int64(value) if isinstance(value, int) else value for value in arguments))
        if message is not None:
            raise ValueError(message.decode())

    @contextmanager
    def banks(self, parts: Sequence[Sequence[Array]], precision: str) -> Iterator[Any]:
        handles = (ctypes.c_void_p * len(parts))()
        try:
            for at, bank in enumerate(parts):
                handle = ctypes.c_void_p()
                self.call("make_bank", bank[0].shape[1], PRECISIONS.index(precision), ctypes.byref(handle))
                handles[at] = handle.value
                for part in bank:
                    self.append(handle.value, part)
            yield handles
        finally:
            for value in handles:
                self.emulation.free_bank(ctypes.c_void_p(value))

    def append(self, bank: int | None, rows: Array) -> None:
        self.call("append", ctypes.c_void_p(bank), pointer(rows), TYPES.index(str(rows.dtype)), len(rows))

    def search(self, banks: Sequence[Sequence[Array]], queries: Sequence[Array], precision: str) -> Found:
        # A run must not depend on data that an earlier run left behind. So a run with large numbers comes first.
        large = [np.full(some.nbytes + 16, 0x40, np.uint8)[: some.nbytes].view(some.dtype) for some in queries]
        with self.banks(banks, precision) as handles, self.made("search", handles, len(banks), len(queries[0])) as made:
            self.run_search(made, [some.reshape(queries[at].shape) for at, some in enumerate(large)])
            return self.run_search(made, queries)

    def run_search(self, search: Any, queries: Sequence[Array], stream: int | None = None) -> Found:
        product = [np.full(len(some), 7, np.float32) for some in queries]
        index = [np.full(len(some), 7, np.int64) for some in queries]
        kind = TYPES.index(str(queries[0].dtype))
        arrays = pointers(queries), kind, len(queries[0]), pointers(product), pointers(index)
        self.call("run_search", search, len(queries), *arrays, ctypes.c_void_p(stream))
        return list(zip(product, index, strict=True))

    @contextmanager
    def made(self, kind: str, *arguments: object) -> Iterator[ctypes.c_void_p]:
        """Make a search or a scorer, which is freed at the end."""
        handle = ctypes.c_void_p()
        self.call(f"make_{kind}", *arguments, ctypes.byref(handle))
        try:
            yield handle
        finally:
            getattr(self.emulation, f"free_{kind}")(handle)

    def score(self, learned: Learned, features: Features, precision: str) -> Scores:
        views, (height, width) = len(features.global_), features.grid
        out = [np.full((views, height, width) if grid else views, 7, np.float32) for grid in (0, 1, 0, 0, 1, 1, 1)]
        with (
            self.banks([[bank] for bank in learned.banks], precision) as handles,
            self.made("scorer", *self.product(learned, handles, features.grid), views) as scorer,
        ):
            self.run_scorer(scorer, features, out)
        return Scores(out[0], out[1], Branches(*out[2:]))

    def product(self, learned: Learned, banks: Any, grid: tuple[int, int]) -> tuple[object, ...]:
        """Return the arguments of a scorer except the number of views."""
        return (
            banks, len(learned.banks), learned.image_prompts.shape[1], *grid,
            pointer(learned.image_prompts), pointer(learned.pixel_prompts), ctypes.c_float(learned.temperature),
            ctypes.c_bool(learned.image_maximum == "map"), FUSIONS.index(learned.fusion),
            pointers(learned.margins) if learned.margins else None, ctypes.c_float(learned.residual_weight),
        )  # fmt: skip

    def run_scorer(self, scorer: Any, features: Features, out: Sequence[Array], stream: int | None = None) -> None:
        self.call(
            "run_scorer", scorer, len(features.memory), len(features.global_),
            TYPES.index(str(features.global_.dtype)), pointer(features.global_), pointer(features.local),
            pointers(features.memory), pointers(out), ctypes.c_void_p(stream),
        )  # fmt: skip

    def resize(self, frame: Array, size: tuple[int, int], box: Sequence[int] | None, form: str) -> Array:
        out = np.full((*size, 3), 7, np.uint8)
        self.resize_to(out, frame, box, form)
        return out

    def resize_to(
        self, out: Array, frame: Array, box: Sequence[int] | None, form: str, device: int = 0, stream: int | None = None
    ) -> None:
        height = len(frame) * 2 // 3 if form == "nv12" else len(frame)
        number, stride = ("rgb", "bgr", "grey", "nv12", "yuyv").index(form), frame.strides[0]
        chroma = frame.ctypes.data + height * stride if form == "nv12" else None
        shown = Frame(frame.ctypes.data, chroma, frame.shape[1], height, stride, stride, number)
        cut = None if box is None else ctypes.byref(Box(*box))
        self.call("resize_frame", ctypes.byref(shown), cut, out.shape[1], out.shape[0], pointer(out), device,
                  ctypes.c_void_p(stream))  # fmt: skip

    @property
    def counts(self) -> Counts:
        """The calls of the CUDA runtime since the counts were last read."""
        counts = Counts()
        self.emulation.take_counts(ctypes.byref(counts))
        return counts

    @contextmanager
    def capture(self, stream: int, mode: str = "global") -> Iterator[list[ctypes.c_void_p]]:
        """Capture a stream. At the end the yielded list holds the graph, or nothing if the capture failed."""
        graphs: list[ctypes.c_void_p] = []
        self.emulation.begin_capture(ctypes.c_void_p(stream), MODES.index(mode))
        try:
            yield graphs
        finally:
            end = self.emulation.end_capture
            end.restype = ctypes.c_void_p
            if graph := end():
                graphs.append(ctypes.c_void_p(graph))

    def replay(self, graph: ctypes.c_void_p) -> None:
        self.emulation.replay(graph)


_FOLDER = tempfile.TemporaryDirectory(prefix="on_cpu")


@functools.cache
def compile_kernels() -> Path:
    """Compile cpp_ext/cuda for the CPU, once, and return the library. Skip the test if it cannot be compiled."""
    if not shutil.which("g++") or sys.platform != "linux":
        pytest.skip("g++ on Linux is needed to run the kernels on the CPU")
    library, source = Path(_FOLDER.name) / "kernels.so", Path(__file__).parents[3] / "cpp_ext"
    cuda = source / "cuda"
    kernels = [cuda / name for name in ("bank.cu", "resize.cu", "score.cu", "search.cu")]
    folders = [cuda / "on_cpu", cuda, source / "include", source / "src"]
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", *(f"-I{folder}" for folder in folders), "-o", library]
    command += [*("-xc++", *kernels), "-xnone", cuda / "on_cpu" / "exports.cpp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


class OnGpu:
    """goodparts._native.cuda, with torch's arrays."""

    def __init__(self) -> None:
        import torch

        self.torch = torch

    def up(self, array: Array) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(array)).cuda()

    def down(self, array: Any) -> Array:
        return np.asarray(self.torch.from_dlpack(array).cpu().numpy())

    def banks(self, parts: Sequence[Sequence[Array]], precision: str) -> list[Any]:
        banks = [_native.cuda.Bank(bank[0].shape[1], precision) for bank in parts]
        for bank, arrays in zip(banks, parts, strict=True):
            for number, part in enumerate(arrays):
                bank.append(part if number % 2 else self.up(part))
        return banks

    def search(self, banks: Sequence[Sequence[Array]], queries: Sequence[Array], precision: str) -> Found:
        search = _native.cuda.Search(self.banks(banks, precision), len(queries[0]))
        found = search.run([self.up(some) for some in queries], stream=self.torch.cuda.current_stream().cuda_stream)
        self.torch.cuda.synchronize()
        return [(self.down(product), self.down(index)) for product, index in found]

    def scorer(self, learned: Learned, features: Features, precision: str) -> Any:
        return _native.cuda.Scorer(
            learned.image_prompts, learned.pixel_prompts, self.banks([[bank] for bank in learned.banks], precision),
            learned.temperature, features.grid, learned.image_maximum == "map", learned.fusion, list(learned.margins),
            learned.residual_weight, max_views=len(features.global_),
        )  # fmt: skip

    def score(self, learned: Learned, features: Features, precision: str) -> Scores:
        arrays = self.up(features.global_), self.up(features.local), [self.up(some) for some in features.memory]
        out = self.scorer(learned, features, precision).run(*arrays)
        self.torch.cuda.synchronize()
        image, grid, *branches = (self.down(array) for array in out)
        return Scores(image, grid, Branches(*branches))

    def resize(self, frame: Array, size: tuple[int, int], box: Sequence[int] | None, form: str) -> Array:
        out = _native.cuda.resize(self.up(frame), size, box, form)
        self.torch.cuda.synchronize()
        return self.down(out)


def unit(rng: np.random.Generator, *shape: int) -> Floats:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20), np.float32)


def rounded(vectors: Floats, precision: str, queries: bool = False) -> npt.NDArray[np.float64]:
    """Return the vectors as they are rounded before the multiplication."""
    peak = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float32)
    if precision == "fp16":
        power = np.exp2(np.floor(np.log2(np.where(peak > 0, peak, 1)))) if queries else 1.0
        return (vectors / power).astype(np.float16).astype(np.float64) * power
    if precision == "bf16":
        bits = vectors.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)
    scale = np.where(peak > 1e-30, peak / np.float32(127), np.float32(1))
    return np.rint(vectors * (np.float32(1) / scale)).astype(np.float64) * scale
