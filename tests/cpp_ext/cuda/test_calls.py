"""The calls of the CUDA runtime by the device code: memory, waits, devices, and what a captured graph still needs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from goodparts.runtime.core import scoring
from goodparts.runtime.core.view import View

from tests.cpp_ext.cuda.devices import MODES, Array, OnCpu, unit
from tests.cpp_ext.cuda.test_resize import draw
from tests.cpp_ext.cuda.test_score import as_multiplied, assert_same, product_and_features

STREAM = 0x100


@pytest.fixture(autouse=True)
def nothing_counted(on_cpu: OnCpu) -> None:
    _ = on_cpu.counts


@contextmanager
def scorer(on_cpu: OnCpu, learned: scoring.Learned, grid: tuple[int, int], views: int) -> Iterator[Any]:
    with (
        on_cpu.banks([[bank] for bank in learned.banks], "fp16") as banks,
        on_cpu.made("scorer", *on_cpu.product(learned, banks, grid), views) as made,
    ):
        yield made


def score_arrays(views: int, grid: tuple[int, int]) -> list[Array]:
    return [np.full((views, *grid) if is_grid else views, 7, np.float32) for is_grid in (0, 1, 0, 0, 1, 1, 1)]


def test_the_filters_of_nine_tiles_are_made_once(on_cpu: OnCpu) -> None:
    frame, out = draw(np.random.default_rng(0), 301, 403, "rgb"), np.empty((24, 24, 3), np.uint8)
    boxes = [(box.x, box.y, box.width, box.height) for box in View(tiles=(3, 3)).boxes(301, 403)]
    for box in boxes:
        on_cpu.resize_to(out, frame, box, "rgb")
    lengths = {box[2] for box in boxes} | {box[3] for box in boxes}
    assert sum(on_cpu.counts.allocations) == 3 * len(lengths)
    for box in boxes:
        on_cpu.resize_to(out, frame, [box[0] - 1 if box[0] else 0, *box[1:]], "rgb")  # the region has moved
    assert sum(on_cpu.counts.allocations) == 0


def test_a_captured_resize_keeps_its_filters(on_cpu: OnCpu) -> None:
    frame, out = draw(np.random.default_rng(1), 90, 120, "rgb"), np.zeros((21, 31, 3), np.uint8)
    wanted = on_cpu.resize(frame, (21, 31), None, "rgb")
    with on_cpu.capture(STREAM) as graphs:
        on_cpu.resize_to(out, frame, None, "rgb", stream=STREAM)
    assert not out.any(), "a captured launch does not run"
    for side in range(2, 60):
        on_cpu.resize(frame, (side, side), None, "rgb")
    assert on_cpu.counts.frees > 0
    on_cpu.replay(*graphs)
    np.testing.assert_array_equal(out, wanted)


def test_a_resize_that_never_ran_cannot_be_captured(on_cpu: OnCpu) -> None:
    frame, out = draw(np.random.default_rng(2), 77, 66, "grey"), np.empty((20, 20, 3), np.uint8)
    with on_cpu.capture(STREAM), pytest.raises(ValueError, match="66 to 20 pixels is captured before it ever ran"):
        on_cpu.resize_to(out, frame, None, "grey", stream=STREAM)


@pytest.mark.parametrize("mode", MODES)
def test_objects_may_be_made_and_freed_while_another_thread_captures(on_cpu: OnCpu, mode: str) -> None:
    learned, features = product_and_features(1, 1, (2, 2), (8,))

    def make() -> None:
        on_cpu.score(learned, features, "fp16")
        on_cpu.search([[unit(np.random.default_rng(0), 5, 8)]], [unit(np.random.default_rng(1), 3, 8)], "int8")
        on_cpu.call("allocate", 64)
        on_cpu.resize(draw(np.random.default_rng(3), 40, 50 + MODES.index(mode), "rgb"), (9, 9), None, "rgb")

    with on_cpu.capture(STREAM, mode) as graphs, ThreadPoolExecutor(1) as pool:
        pool.submit(make).result()
    counts = on_cpu.counts
    assert min(counts.allocations[0], counts.frees, counts.waits) > 0
    assert graphs, "the capture goes on"


def test_a_search_that_failed_leaves_nothing_to_the_next(on_cpu: OnCpu) -> None:
    """For queries that need no conversion, no kernel resets the keys, so the search must do it."""
    rows = unit(np.random.default_rng(4), 9, 64).astype(np.float16)
    queries = unit(np.random.default_rng(5), 4, 64).astype(np.float16)
    ((expected, where),) = on_cpu.search([[rows]], [queries], "fp16")
    with on_cpu.banks([[rows]], "fp16") as banks, on_cpu.made("search", banks, 1, 4) as search:
        on_cpu.emulation.fail_kernel(b"answer_kernel")
        try:
            with pytest.raises(ValueError, match="answer_kernel: launch failure"):
                on_cpu.run_search(search, [queries * np.float16(100)])
        finally:
            on_cpu.emulation.fail_kernel(b"")
        ((product, index),) = on_cpu.run_search(search, [queries])
    np.testing.assert_array_equal(product, expected)
    np.testing.assert_array_equal(index, where)


def test_everything_stays_on_the_device_of_the_banks(on_cpu: OnCpu) -> None:
    learned, features = product_and_features(6, 2, (3, 2), (16, 24))
    out = score_arrays(2, (3, 2))
    on_cpu.emulation.use_device(1)
    try:
        with on_cpu.banks([[bank[:1]] for bank in learned.banks], "fp16") as banks:
            on_cpu.emulation.use_device(0)
            for bank, rows in zip(banks, learned.banks, strict=True):
                on_cpu.append(bank, rows[1:])
            with on_cpu.made("scorer", *on_cpu.product(learned, banks, (3, 2)), 2) as made:
                on_cpu.run_scorer(made, features, out)
            on_cpu.resize_to(np.empty((7, 7, 3), np.uint8), draw(np.random.default_rng(7), 33, 44, "rgb"), None, "rgb",
                             device=1)  # fmt: skip
        assert on_cpu.emulation.device_in_use() == 0
    finally:
        on_cpu.emulation.use_device(0)
    counts = on_cpu.counts
    assert (counts.allocations[0], counts.launches[0]) == (0, 0)
    assert min(counts.allocations[1], counts.launches[1]) > 0


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_a_frame_needs_only_launches_and_can_be_captured(on_cpu: OnCpu, kind: str) -> None:
    """After the first frame of a size, no frame allocates, waits or copies."""
    learned, features = product_and_features(8, 2, (3, 2), (64, 24))
    features = scoring.Features(
        features.global_.astype(kind), features.local.astype(kind),
        tuple(some.astype(kind) for some in features.memory), features.grid,
    )  # fmt: skip
    frame, view = draw(np.random.default_rng(9), 50, 60, "yuyv"), np.zeros((12, 14, 3), np.uint8)
    out, wanted_view = score_arrays(2, (3, 2)), on_cpu.resize(frame, (12, 14), (2, 4, 48, 40), "yuyv")
    whole = scoring.Features(
        features.global_.astype(np.float32), features.local.astype(np.float32),
        tuple(some.astype(np.float32) for some in features.memory), features.grid,
    )  # fmt: skip
    with scorer(on_cpu, learned, (3, 2), 2) as made:
        _ = on_cpu.counts
        with on_cpu.capture(STREAM) as graphs:
            on_cpu.resize_to(view, frame, (2, 4, 48, 40), "yuyv", stream=STREAM)
            on_cpu.run_scorer(made, features, out, stream=STREAM)
        counts = on_cpu.counts
        assert (sum(counts.allocations), counts.frees, counts.waits, counts.up, counts.down) == (0, 0, 0, 0, 0)
        assert sum(counts.launches) == 4
        for _ in range(2):
            on_cpu.replay(*graphs)
    np.testing.assert_array_equal(view, wanted_view)
    seen = scoring.Scores(out[0], out[1], scoring.Branches(*out[2:]))
    assert_same(seen, scoring.score(*reversed(as_multiplied(learned, whole, "fp16"))))
