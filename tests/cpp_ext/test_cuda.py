"""The device code, twice: its kernels run on the CPU (cpp_ext/cuda/on_cpu), and where there is a GPU, on that.

The first shows mistakes in indices, barriers, fragments and waits; only the second shows that a GPU agrees.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest
from goodparts.runtime import scoring
from goodparts.runtime.scoring import Branches, Features, Floats, Learned, Scales, Scores
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from goodparts import _native

SOURCE = Path(__file__).parents[2] / "cpp_ext"
PRECISIONS = ("fp16", "bf16", "int8")
TYPES = ("float32", "float16", "bfloat16")
FORMATS = ("rgb", "bgr", "grey", "nv12", "yuyv")
ORDERS = ("forwards", "backwards", "shuffled")

Array = npt.NDArray[Any]
Found = list[tuple[Floats, npt.NDArray[np.int64]]]


class Device(Protocol):
    """What is tested: arrays in and out are numpy's. `banks`: per bank the parts it is appended from."""

    def search(self, banks: Sequence[Sequence[Array]], queries: Sequence[Array], precision: str) -> Found: ...

    def score(self, learned: Learned, features: Features, precision: str) -> tuple[Scores, Floats]: ...

    def resize(self, frame: Array, size: tuple[int, int], box: Sequence[int] | None, form: str) -> Array: ...


# ---- The kernels on the CPU ------------------------------------------------------------------------------------------


class Box(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("x", "y", "width", "height")]


def pointer(array: Array | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def pointers(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


class OnCpu:
    """cpp_ext/cuda compiled by a C++ compiler, through ctypes."""

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
                    self.call("append", handle, pointer(part), TYPES.index(str(part.dtype)), len(part))
            yield handles
        finally:
            for value in handles:
                self.emulation.free_bank(ctypes.c_void_p(value))

    def search(self, banks: Sequence[Sequence[Array]], queries: Sequence[Array], precision: str) -> Found:
        product = [np.full(len(some), 7, np.float32) for some in queries]
        index = [np.full(len(some), 7, np.int64) for some in queries]
        with self.banks(banks, precision) as handles:
            kind = TYPES.index(str(queries[0].dtype))
            arrays = pointers(queries), kind, len(queries[0]), pointers(product), pointers(index)
            self.call("search", handles, len(banks), *arrays)
        return list(zip(product, index, strict=True))

    def score(self, learned: Learned, features: Features, precision: str) -> tuple[Scores, Floats]:
        views, (height, width) = len(features.global_), features.grid
        out = [np.full((views, height, width) if grid else views, 7, np.float32) for grid in (0, 1, 0, 0, 1, 1)]
        smooth = np.full((views, 400, 400), 7, np.float32)
        with self.banks([[bank] for bank in learned.banks], precision) as handles:
            self.call(
                "score", handles, len(learned.banks), learned.image_prompts.shape[1], height, width,
                pointer(learned.image_prompts), pointer(learned.pixel_prompts), ctypes.c_float(learned.temperature),
                ctypes.c_bool(learned.image_maximum == "map"), pointer(four_scales(learned)), views,
                TYPES.index(str(features.global_.dtype)),
                pointer(features.global_), pointer(features.local), pointers(features.memory), pointers(out),
                pointer(smooth),
            )  # fmt: skip
        return Scores(out[0], out[1], Branches(*out[2:])), smooth

    def resize(self, frame: Array, size: tuple[int, int], box: Sequence[int] | None, form: str) -> Array:
        out = np.full((*size, 3), 7, np.uint8)
        height = len(frame) * 2 // 3 if form == "nv12" else len(frame)
        chroma = ctypes.c_void_p(frame.ctypes.data + height * frame.strides[0])
        cut = None if box is None else ctypes.byref(Box(*box))
        number = ("rgb", "bgr", "grey", "nv12", "yuyv").index(form)
        self.call("resize", number, frame.shape[1], height, cut, size[1], size[0], pointer(frame), frame.strides[0],
                  chroma, frame.strides[0], pointer(out))  # fmt: skip
        return out


def four_scales(learned: Learned) -> Floats:
    scales = learned.scales or scoring.UNIT_SCALES
    return np.array([getattr(scales, name) for name in Scales.__struct_fields__], np.float32)


# ---- The GPU ---------------------------------------------------------------------------------------------------------


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
            learned.temperature, features.grid, learned.image_maximum == "map", four_scales(learned).tolist(),
            max_views=len(features.global_),
        )  # fmt: skip

    def score(self, learned: Learned, features: Features, precision: str) -> tuple[Scores, Floats]:
        smooth = self.torch.full((len(features.global_), 400, 400), 7.0, device="cuda")
        arrays = self.up(features.global_), self.up(features.local), [self.up(some) for some in features.memory]
        out = self.scorer(learned, features, precision).run(*arrays, map=smooth)
        self.torch.cuda.synchronize()
        image, grid, *branches = (self.down(array) for array in out)
        return Scores(image, grid, Branches(*branches)), self.down(smooth)

    def resize(self, frame: Array, size: tuple[int, int], box: Sequence[int] | None, form: str) -> Array:
        out = _native.cuda.resize(self.up(frame), size, box, form)
        self.torch.cuda.synchronize()
        return self.down(out)


# ---- Which of them ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> OnCpu:
    if not shutil.which("g++") or sys.platform != "linux":
        pytest.skip("g++ on Linux is needed to run the kernels on the CPU")
    library = tmp_path_factory.mktemp("on_cpu") / "kernels.so"
    cuda = SOURCE / "cuda"
    kernels = [cuda / name for name in ("bank.cu", "resize.cu", "score.cu", "search.cu")]
    folders = [cuda / "on_cpu", cuda, SOURCE / "include", SOURCE / "src"]
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", *(f"-I{folder}" for folder in folders), "-o", library]
    command += [*("-xc++", *kernels), "-xnone", cuda / "on_cpu" / "exports.cpp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return OnCpu(library)


@pytest.fixture(scope="session")
def on_gpu() -> OnGpu:
    if not _native.cuda.available():
        pytest.skip(_native.cuda.why_not())
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here, and the arrays of these tests are torch's")
    return OnGpu()


@pytest.fixture(scope="session", params=["on_cpu", "on_gpu"])
def device(request: pytest.FixtureRequest) -> Device:
    device: Device = request.getfixturevalue(request.param)
    return device


# ---- Search ----------------------------------------------------------------------------------------------------------


def unit(rng: np.random.Generator, *shape: int) -> Floats:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20), np.float32)


def rounded(vectors: Floats, precision: str, queries: bool = False) -> npt.NDArray[np.float64]:
    """What is multiplied instead of the vectors."""
    peak = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float32)
    if precision == "fp16":
        power = np.exp2(np.floor(np.log2(np.where(peak > 0, peak, 1)))) if queries else 1.0
        return (vectors / power).astype(np.float16).astype(np.float64) * power
    if precision == "bf16":
        bits = vectors.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)
    scale = np.where(peak > 1e-30, peak / np.float32(127), np.float32(1))
    return np.rint(vectors * (np.float32(1) / scale)).astype(np.float64) * scale


def check_search(device: Device, rows: Floats, queries: Floats, precision: str, parts: int = 1) -> None:
    """Against float64: the same products but for the order of additions, and a row as good as the best."""
    ((product, index),) = device.search([np.array_split(rows, parts)], [queries], precision)
    exact = rounded(queries, precision, queries=True) @ rounded(rows, precision).T
    tolerance = 4 * rows.shape[1] * 2.0**-24 + 1e-6
    np.testing.assert_allclose(product, exact.max(axis=1), rtol=0, atol=tolerance)
    assert (exact[np.arange(len(queries)), index] >= exact.max(axis=1) - 2 * tolerance).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 200), st.integers(1, 150), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_the_nearest_row_is_found(
    device: Device, precision: str, rows: int, queries: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    if isinstance(device, OnCpu):
        device.set_device(ORDERS[seed % 3], processors=1 + seed % 7)
    check_search(device, unit(rng, rows, width), unit(rng, queries, width), precision, parts=1 + seed % 3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_and_queries_around_a_tile(device: Device, precision: str) -> None:
    rng = np.random.default_rng(0)
    for rows, queries, width in ((1, 1, 1), (64, 64, 32), (65, 65, 33), (127, 1, 64), (128, 256, 65), (129, 257, 31)):
        check_search(device, unit(rng, rows, width), unit(rng, queries, width), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sizes_that_matter(on_gpu: OnGpu, precision: str) -> None:
    rng = np.random.default_rng(0)
    for rows, queries, width in (
        (225, 225, 896),
        (3600, 225, 896),
        (45_000, 225, 896),
        (100_000, 3, 8),
        (1, 2000, 4096),
    ):
        check_search(on_gpu, unit(rng, rows, width), unit(rng, queries, width), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_many_rows(device: Device, precision: str) -> None:
    rng = np.random.default_rng(0)
    check_search(device, unit(rng, 3000, 8), unit(rng, 3, 8), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_neither_order_nor_shape_changes_a_bit(on_cpu: OnCpu, precision: str) -> None:
    rng = np.random.default_rng(3)
    rows, queries = unit(rng, 200, 70), unit(rng, 140, 70)
    seen = []
    for order in ORDERS:
        for processors in (1, 4, 100):  # large tiles, medium, small
            on_cpu.set_device(order, processors)
            seen.append(on_cpu.search([[rows]], [queries], precision)[0])
    on_cpu.set_device(processors=1, shared=64 << 10)  # no room for large tiles
    seen.append(on_cpu.search([[rows]], [queries], precision)[0])
    on_cpu.set_device()
    for product, index in seen[1:]:
        np.testing.assert_array_equal(product, seen[0][0])
        np.testing.assert_array_equal(index, seen[0][1])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("width", [5, 64, 96])
def test_zeros_duplicates_and_ties(device: Device, precision: str, width: int) -> None:
    rng = np.random.default_rng(1)
    some = unit(rng, 40, width)
    rows = np.concatenate([np.zeros((2, width), np.float32), some, some, some, some[:7]])
    queries = np.concatenate([some, np.zeros((3, width), np.float32), -np.zeros((1, width), np.float32)])
    ((product, index),) = device.search([[rows]], [queries], precision)
    assert (index[: len(some)] == 2 + np.arange(len(some))).all(), "the first of equal rows"
    assert (product[len(some) :] == 0).all()
    assert (index[len(some) :] == 0).all()


def test_all_products_below_zero(device: Device) -> None:
    rows = np.float32([[-1, 0], [-0.5, 0], [-0.25, 0], [-0.5, 0]])
    ((product, index),) = device.search([[rows]], [np.float32([[1, 0]])], "fp16")
    assert (product[0], index[0]) == (-0.25, 2)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_query_that_is_not_finite_has_no_product(device: Device, precision: str) -> None:
    rng = np.random.default_rng(2)
    rows, queries = unit(rng, 50, 24), unit(rng, 5, 24)
    ((expected, _),) = device.search([[rows]], [queries], precision)
    broken = queries.copy()
    broken[1, 3], broken[3, 0] = np.nan, -np.inf
    ((product, index),) = device.search([[rows]], [broken], precision)
    assert np.isnan(product[[1, 3]]).all()
    assert (index[[1, 3]] == -1).all()
    np.testing.assert_array_equal(product[[0, 2, 4]], expected[[0, 2, 4]])


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_large_and_small_queries_keep_their_digits(device: Device, precision: str) -> None:
    rng = np.random.default_rng(4)
    rows, queries = unit(rng, 30, 48), unit(rng, 8, 48)
    ((expected, where),) = device.search([[rows]], [queries], precision)
    for factor in (2.0**30, 2.0**-40):
        ((product, index),) = device.search([[rows]], [queries * np.float32(factor)], precision)
        np.testing.assert_allclose(product, expected * factor, rtol=1e-6)
        np.testing.assert_array_equal(index, where)


@pytest.mark.parametrize("width", [40, 64])  # of 64 on they are multiplied where they are
def test_half_precision_arrays(device: Device, width: int) -> None:
    rng = np.random.default_rng(5)
    rows, queries = unit(rng, 70, width).astype(np.float16), unit(rng, 9, width).astype(np.float16)
    queries[3, 5], queries[4, 6], queries[5] = np.nan, -np.inf, 0
    wanted = device.search([[rows.astype(np.float32)]], [queries.astype(np.float32)], "fp16")
    seen = device.search([[rows]], [queries], "fp16")
    np.testing.assert_array_equal(seen[0][0], wanted[0][0])
    np.testing.assert_array_equal(seen[0][1], wanted[0][1])
    assert np.isnan(seen[0][0]).tolist() == [False] * 3 + [True] * 2 + [False] * 4


@pytest.mark.parametrize("precision", PRECISIONS)
def test_several_banks_of_other_sizes(device: Device, precision: str) -> None:
    rng = np.random.default_rng(6)
    rows = [unit(rng, count, width) for count, width in ((200, 40), (1, 7), (65, 100))]
    queries = [unit(rng, 20, some.shape[1]) for some in rows]
    together = device.search([np.array_split(some, min(3, len(some))) for some in rows], queries, precision)
    for bank, query, (product, index) in zip(rows, queries, together, strict=True):
        ((alone, where),) = device.search([[bank]], [query], precision)
        np.testing.assert_array_equal(product, alone)
        np.testing.assert_array_equal(index, where)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e5])
def test_rows_that_cannot_be_kept_are_refused(device: Device, bad: float) -> None:
    rows = np.ones((20, 4), np.float32)
    rows[13, 2] = bad
    with pytest.raises(ValueError, match="row 13 holds a value that is not finite or beyond 65504"):
        device.search([[rows]], [rows[:1]], "fp16")


def test_what_a_device_cannot_do_is_refused(on_cpu: OnCpu) -> None:
    rows = np.ones((2, 4), np.float32)
    on_cpu.set_device(major=7, shared=64 << 10)
    try:
        with pytest.raises(ValueError, match=r"bf16 on a device of compute capability 7\.0: 8\.0 or later is needed"):
            on_cpu.search([[rows]], [rows], "bf16")
        assert on_cpu.search([[rows]], [rows], "fp16")[0][0].tolist() == [4, 4]
    finally:
        on_cpu.set_device()
    with pytest.raises(ValueError, match="a bank is empty"):
        on_cpu.search([[rows[:0]]], [rows], "fp16")
    with pytest.raises(ValueError, match="width 0: from 1 to 65536"):
        on_cpu.search([[rows[:, :0]]], [rows], "fp16")


# ---- Scoring ---------------------------------------------------------------------------------------------------------


def product_and_features(
    seed: int, views: int, grid: tuple[int, int], widths: tuple[int, ...], **more: object
) -> tuple[Learned, Features]:
    rng = np.random.default_rng(seed)
    patches = grid[0] * grid[1]
    banks = tuple(unit(rng, 1 + 2 * patches, width) for width in widths)
    memory = tuple(unit(rng, views, patches, width) for width in widths)
    learned = Learned(
        unit(rng, 2, 24), unit(rng, 2, 24), banks, **{"temperature": 4.6, "image_maximum": "grid", **more}
    )  # type: ignore[arg-type]
    return learned, Features(unit(rng, views, 24), unit(rng, views, patches, 24), memory, grid)


def as_multiplied(learned: Learned, features: Features, precision: str) -> tuple[Learned, Features]:
    """With banks and queries as the device rounds them, so that only the order of additions is left to differ."""
    banks = tuple(rounded(bank, precision).astype(np.float32) for bank in learned.banks)
    memory = tuple(
        rounded(some.reshape(-1, some.shape[-1]), precision, queries=True).astype(np.float32).reshape(some.shape)
        for some in features.memory
    )
    learned = Learned(
        learned.image_prompts, learned.pixel_prompts, banks, learned.temperature, learned.image_maximum, learned.scales
    )
    return learned, Features(features.global_, features.local, memory, features.grid)


def assert_same(seen: Scores, wanted: Scores) -> None:
    pairs = [(seen.image, wanted.image), (seen.grid, wanted.grid)]
    pairs += [(getattr(seen.branches, name), value) for name, value in vars(wanted.branches).items()]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("maximum", ["grid", "map"])
@pytest.mark.parametrize(
    ("views", "grid", "widths"), [(1, (5, 4), (40,)), (3, (1, 7), (16, 33)), (2, (4, 1), (9, 9, 9)), (1, (1, 1), (8,))]
)
def test_scores_and_map(
    device: Device, maximum: str, views: int, grid: tuple[int, int], widths: tuple[int, ...]
) -> None:
    for precision in ("fp16", "int8"):
        for scales in (None, Scales(0.5, 0.25, 0.4, 0.3)):
            learned, features = product_and_features(7, views, grid, widths, image_maximum=maximum, scales=scales)
            seen, smooth = device.score(learned, features, precision)
            assert_same(seen, scoring.score(*reversed(as_multiplied(learned, features, precision))))
            for view in range(views):
                np.testing.assert_allclose(smooth[view], scoring.anomaly_map(seen.grid[view]), rtol=0, atol=1e-6)


def test_scores_at_the_encoders_size(on_gpu: OnGpu) -> None:
    learned, features = product_and_features(8, 4, (15, 15), (896, 896), image_maximum="map")
    assert_same(
        on_gpu.score(learned, features, "fp16")[0], scoring.score(*reversed(as_multiplied(learned, features, "fp16")))
    )


def test_half_precision_features(device: Device) -> None:
    learned, features = product_and_features(13, 2, (3, 2), (64, 24))
    half = [np.asarray(some.astype(np.float16)) for some in (features.global_, features.local, *features.memory)]
    whole = [some.astype(np.float32) for some in half]
    seen, _ = device.score(learned, Features(half[0], half[1], tuple(half[2:]), features.grid), "fp16")
    wanted = Features(whole[0], whole[1], tuple(whole[2:]), features.grid)
    assert_same(seen, scoring.score(*reversed(as_multiplied(learned, wanted, "fp16"))))


def test_features_that_are_not_finite_show(device: Device) -> None:
    learned, features = product_and_features(9, 2, (3, 3), (12, 12))
    features.memory[1][1, 4, 5] = np.nan
    features.global_[0, 3] = np.nan
    scores, _ = device.score(learned, features, "fp16")
    assert np.isnan(scores.branches.grid_memory).sum() == 1
    assert np.isnan(scores.grid[1, 1, 1])
    assert np.isnan(scores.image).all()
    assert not np.isnan(scores.branches.image_memory[0])


# ---- Resize ----------------------------------------------------------------------------------------------------------


def as_rgb(frame: Array, form: str) -> Array:
    if form == "rgb":
        return frame
    if form == "bgr":
        return frame[:, :, ::-1]
    if form == "grey":
        return np.repeat(frame[:, :, None], 3, axis=2)
    if form == "nv12":
        height = len(frame) * 2 // 3
        luma = frame[:height]
        chroma = frame[height:].reshape(height // 2, -1, 2).repeat(2, axis=0).repeat(2, axis=1)
    else:
        luma = frame[:, :, 0]
        chroma = frame[:, :, 1].reshape(len(frame), -1, 2).repeat(2, axis=1)
    y = 298 * (luma.astype(np.int32) - 16) + 128
    u, v = (chroma[..., at].astype(np.int32) - 128 for at in (0, 1))
    return np.clip(np.stack([y + 409 * v, y - 100 * u - 208 * v, y + 516 * u], axis=2) >> 8, 0, 255).astype(np.uint8)


def draw(rng: np.random.Generator, height: int, width: int, form: str) -> Array:
    shapes = {"rgb": (height, width, 3), "bgr": (height, width, 3), "grey": (height, width)}
    shapes |= {"nv12": (height * 3 // 2, width), "yuyv": (height, width, 2)}
    noise = rng.integers(0, 2, shapes[form]) * 255  # the hardest picture for a filter that overshoots
    return np.where(rng.random(shapes[form]) < 0.5, noise, rng.integers(0, 256, shapes[form])).astype(np.uint8)


def check_resize(device: Device, frame: Array, size: tuple[int, int], box: Sequence[int] | None, form: str) -> None:
    rgb = as_rgb(frame, form)
    if box is not None:
        rgb = rgb[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
    pillow = Image.fromarray(np.ascontiguousarray(rgb))
    # Pillow 13 goes down before across for some shapes, earlier ones never do: one axis at a time.
    for shape in ((size[1], len(rgb)), (size[1], size[0])):
        pillow = pillow.resize(shape, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(device.resize(frame, size, box, form), np.asarray(pillow))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(FORMATS),
    st.integers(0, 2**32 - 1),
)
def test_pillows_bytes(device: Device, frame: tuple[int, int], size: tuple[int, int], form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = 2 * frame[0], 2 * frame[1]
    left, top = rng.integers(0, width), rng.integers(0, height)
    box = (int(left), int(top), int(rng.integers(1, width - left + 1)), int(rng.integers(1, height - top + 1)))
    check_resize(device, draw(rng, height, width, form), size, None if seed % 3 == 0 else box, form)


def test_more_than_a_strip_or_a_band(device: Device) -> None:
    rng = np.random.default_rng(10)
    check_resize(device, draw(rng, 20, 1500, "rgb"), (9, 33), None, "rgb")
    check_resize(device, draw(rng, 1500, 20, "grey"), (20, 5), None, "grey")
    check_resize(device, draw(rng, 2400, 4, "yuyv"), (20, 4), None, "yuyv")  # more shared memory than is usual


def test_a_cameras_frame(on_gpu: OnGpu) -> None:
    rng = np.random.default_rng(11)
    for form in FORMATS:
        check_resize(on_gpu, draw(rng, 2048, 2448, form), (240, 240), (100, 50, 2200, 1900), form)


def test_what_cannot_be_resized(on_cpu: OnCpu) -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="box is 8×8 at"):
        on_cpu.resize(frame, (4, 4), (1, 0, 8, 8), "rgb")
    with pytest.raises(ValueError, match="out is 4×0"):
        on_cpu.resize(frame, (0, 4), None, "rgb")
    with pytest.raises(ValueError, match="7 pixels wide: with chroma"):
        on_cpu.resize(np.zeros((6, 7), np.uint8), (4, 4), None, "nv12")
    with pytest.raises(ValueError, match="too many times smaller"):
        on_cpu.resize(np.zeros((3000, 2), np.uint8), (1, 2), None, "grey")


# ---- Numbers ---------------------------------------------------------------------------------------------------------


def test_number_formats(on_cpu: OnCpu) -> None:
    torch = pytest.importorskip("torch")
    every = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    every = every[np.isfinite(every)]
    above = np.nextafter(every, np.float32(np.inf))
    middle = ((every[1:].astype(np.float64) + every[:-1]) / 2).astype(np.float32)
    some = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([every, above, middle, some[~np.isnan(some)], np.float32([np.inf, -np.inf])])
    with np.errstate(over="ignore"):
        wanted = {"halves": values.astype(np.float16).view(np.uint16)}
    wanted["bfloats"] = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    for name, bits in wanted.items():
        to, back = np.empty(len(values), np.uint16), np.empty(len(values), np.float32)
        getattr(on_cpu.emulation, name)(pointer(values), ctypes.c_int64(len(values)), pointer(to), pointer(back))
        np.testing.assert_array_equal(to, bits)
        as_float = (
            bits.view(np.float16).astype(np.float32)
            if name == "halves"
            else torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
        )
        np.testing.assert_array_equal(back, as_float)


@pytest.mark.parametrize("segments", [4, 8])
def test_shared_memory_has_a_place_for_each_segment_and_no_conflicts(on_cpu: OnCpu, segments: int) -> None:
    places = np.array(
        [[on_cpu.emulation.segment(segments, row, number) for number in range(segments)] for row in range(64)]
    )
    assert sorted(places.ravel()) == list(range(64 * segments))
    for eight in places.reshape(8, 8, segments):  # rows that one instruction loads: 8 times 16 bytes of 128
        assert all(len(set(eight[:, number] % 8)) == 8 for number in range(segments))


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.integers(0, 2**31 - 1)), min_size=1, max_size=20))
def test_the_largest_key_is_of_the_best_row(on_cpu: OnCpu, found: list[tuple[float, int]]) -> None:
    library = on_cpu.emulation
    library.key.argtypes, library.key.restype = [ctypes.c_float, ctypes.c_uint32], ctypes.c_uint64
    library.product.argtypes, library.product.restype = [ctypes.c_uint64], ctypes.c_float
    library.row.argtypes, library.row.restype = [ctypes.c_uint64], ctypes.c_int64
    best = max(library.key(product, row) for product, row in found)
    assert (library.product(best), library.row(best)) == max(found, key=lambda pair: (pair[0], -pair[1]))
    assert np.isnan(library.product(2**64 - 1)), "what is not finite has this key"


# ---- The module ------------------------------------------------------------------------------------------------------


def test_without_a_gpu_it_says_so() -> None:
    cuda = _native.cuda
    if cuda.available():
        assert cuda.built()
        assert cuda.why_not() == ""
        assert cuda.device_name()
        return
    assert cuda.why_not()
    error = RuntimeError if cuda.built() else ValueError
    message = "no GPU can be used: .+" if cuda.built() else "built without CUDA: "
    for call in (
        lambda: cuda.Bank(8),
        cuda.device_name,
        lambda: cuda.resize(np.zeros((8, 8, 3), np.uint8), (4, 4)),
        lambda: cuda.Scorer(np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32), [], 1.0, (2, 2)),
    ):
        with pytest.raises(error, match=message):
            call()


class Interface:
    """An array that has __cuda_array_interface__ and nothing else."""

    def __init__(self, array: Any, **other: object) -> None:
        self.array = array
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **other}


def test_arrays_of_other_libraries(on_gpu: OnGpu) -> None:
    rng = np.random.default_rng(0)
    rows, queries = unit(rng, 50, 16), on_gpu.up(unit(rng, 7, 16))
    search = _native.cuda.Search(on_gpu.banks([[rows]], "fp16"), 7)
    wanted = on_gpu.down(search.run([queries])[0][0])
    kinds: list[Any] = [Interface(queries)]
    if importlib.util.find_spec("cupy"):
        kinds.append(importlib.import_module("cupy").asarray(queries))
    for array in kinds:
        np.testing.assert_array_equal(on_gpu.down(search.run([array])[0][0]), wanted)
    out = on_gpu.torch.full((7,), 9.0, device="cuda"), on_gpu.torch.full((7,), 9, device="cuda")
    ((product, index),) = search.run([queries], out=[out])
    assert product is out[0]
    assert index is out[1]
    np.testing.assert_array_equal(out[0].cpu().numpy(), wanted)


def test_arrays_that_do_not_fit(on_gpu: OnGpu) -> None:
    torch = on_gpu.torch
    bank = on_gpu.banks([[np.ones((3, 16), np.float32)]], "fp16")[0]
    search = _native.cuda.Search([bank], 7)
    good = torch.ones(7, 16, device="cuda")
    with pytest.raises(TypeError, match="queries is not in the GPU's memory"):
        search.run([good.cpu()])
    with pytest.raises(TypeError, match="queries is float64: float32, float16, bfloat16 is accepted"):
        search.run([good.double()])
    with pytest.raises(TypeError, match="an array with __dlpack__ or __cuda_array_interface__ is accepted"):
        search.run(["queries"])
    with pytest.raises(ValueError, match=r"queries is \[7,15\]: \[n,16\] is accepted"):
        search.run([good[:, :15].contiguous()])
    with pytest.raises(ValueError, match="queries has gaps"):
        search.run([torch.ones(7, 32, device="cuda")[:, ::2]])
    with pytest.raises(ValueError, match="8 queries: from 1 to 7"):
        search.run([torch.ones(8, 16, device="cuda")])
    with pytest.raises(TypeError, match="index is int32: int64 is accepted"):
        search.run([good], out=[(torch.empty(7, device="cuda"), torch.empty(7, device="cuda", dtype=torch.int32))])
    with pytest.raises(TypeError, match="frame is float32: uint8 is accepted"):
        _native.cuda.resize(good, (4, 4), None, "grey")
    if torch.cuda.device_count() > 1:
        with pytest.raises(ValueError, match="queries is on device 1: device 0"):
            search.run([good.to("cuda:1")])


def test_a_captured_graph_runs_again_and_sees_appended_rows(on_gpu: OnGpu) -> None:
    torch = on_gpu.torch
    learned, features = product_and_features(12, 2, (6, 5), (64, 64))
    scorer = on_gpu.scorer(learned, features, "fp16")
    inputs = [on_gpu.up(features.global_), on_gpu.up(features.local), [on_gpu.up(some) for some in features.memory]]
    shapes = [(2,), (2, 6, 5), (2,), (2,), (2, 6, 5), (2, 6, 5)]
    out = [torch.zeros(shape, device="cuda") for shape in shapes]
    frame = on_gpu.up(draw(np.random.default_rng(0), 90, 120, "rgb"))
    small = torch.zeros(20, 30, 3, device="cuda", dtype=torch.uint8)
    _native.cuda.resize(frame, (20, 30), out=small)
    wanted_small = small.clone()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        stream = torch.cuda.current_stream().cuda_stream
        scorer.run(*inputs, out=out, stream=stream)
        _native.cuda.resize(frame, (20, 30), out=small, stream=stream)
    for array in (*out, small):
        array.zero_()
    graph.replay()
    torch.cuda.synchronize()
    seen = Scores(on_gpu.down(out[0]), on_gpu.down(out[1]), Branches(*(on_gpu.down(array) for array in out[2:])))
    assert_same(seen, scoring.score(*reversed(as_multiplied(learned, features, "fp16"))))
    assert torch.equal(small, wanted_small)

    bank = _native.cuda.Bank(64)
    bank.append(learned.banks[0])
    search = _native.cuda.Search([bank], 60)
    queries = inputs[2][0].reshape(60, 64)
    found = (torch.zeros(60, device="cuda"), torch.zeros(60, device="cuda", dtype=torch.int64))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        search.run([queries], out=[found], stream=torch.cuda.current_stream().cuda_stream)
    bank.append(queries)  # more rows than there is room for
    graph.replay()
    torch.cuda.synchronize()
    np.testing.assert_array_equal(found[1].cpu().numpy(), len(learned.banks[0]) + np.arange(60))
