"""goodparts._native.cuda: its errors without a GPU, and the arrays and graphs that it accepts with one."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from goodparts.runtime.core import scoring
from goodparts.runtime.core.scoring import Branches, Scores

from goodparts import _native
from tests.cpp_ext.cuda.devices import OnGpu, unit
from tests.cpp_ext.cuda.test_resize import check_resize, draw
from tests.cpp_ext.cuda.test_score import as_multiplied, assert_same, product_and_features


def test_without_a_gpu_every_call_reports_it() -> None:
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
    """An array that has only __cuda_array_interface__."""

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
    shapes = [(2,), (2, 6, 5), (2,), (2,), *[(2, 6, 5)] * 3]
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


def test_threads_search_on_streams_of_their_own(on_gpu: OnGpu) -> None:
    torch = on_gpu.torch
    rng = np.random.default_rng(4)
    rows = unit(rng, 900, 96)
    (bank,) = on_gpu.banks([[rows]], "fp16")

    def indices(thread: int) -> bool:
        order = np.random.default_rng(thread).permutation(900)
        with torch.cuda.stream(torch.cuda.Stream()):
            search, stream = _native.cuda.Search([bank], 900), torch.cuda.current_stream()
            queries = on_gpu.up(rows[order])
            for _ in range(20):
                ((_, index),) = search.run([queries], stream=stream.cuda_stream)
                stream.synchronize()
                if not np.array_equal(on_gpu.down(index), order):
                    return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(indices, range(4)))


def test_nine_tiles_are_cut_in_a_captured_graph(on_gpu: OnGpu) -> None:
    torch = on_gpu.torch
    frames = [draw(np.random.default_rng(seed), 270, 360, "rgb") for seed in (0, 1)]
    boxes = [(120 * column, 90 * row, 120, 90) for row in range(3) for column in range(3)]
    frame, tiles = on_gpu.up(frames[0]), torch.zeros(9, 40, 40, 3, device="cuda", dtype=torch.uint8)

    def cut() -> None:
        stream = torch.cuda.current_stream().cuda_stream
        for box, tile in zip(boxes, tiles, strict=True):
            _native.cuda.resize(frame, (40, 40), box, "rgb", tile, stream)

    cut()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        cut()
    frame.copy_(on_gpu.up(frames[1]))
    graph.replay()
    torch.cuda.synchronize()
    for box, tile in zip(boxes, tiles, strict=True):
        check_resize(on_gpu, frames[1], (40, 40), box, "rgb")
        np.testing.assert_array_equal(on_gpu.down(tile), on_gpu.resize(frames[1], (40, 40), box, "rgb"))
