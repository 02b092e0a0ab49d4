"""Memory search on the device."""

from __future__ import annotations

import numpy as np
import pytest
from goodparts.runtime.core.scoring import Floats
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cpp_ext.cuda.devices import ORDERS, PRECISIONS, Device, OnCpu, OnGpu, rounded, unit


def check_search(device: Device, rows: Floats, queries: Floats, precision: str, parts: int = 1) -> None:
    """Compare with float64: products may differ by the order of additions, and rows must be as good as the best."""
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
def test_order_and_shape_do_not_change_a_bit(on_cpu: OnCpu, precision: str) -> None:
    rng = np.random.default_rng(3)
    rows, queries = unit(rng, 200, 70), unit(rng, 140, 70)
    seen = []
    for order in ORDERS:
        for processors in (1, 4, 100):  # they give large, medium and small tiles
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


@pytest.mark.parametrize("width", [40, 64])  # queries of width 64 need no conversion
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
