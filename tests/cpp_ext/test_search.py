from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from goodparts.runtime.core.scoring import Floats
from hypothesis import given, settings
from hypothesis import strategies as st

from goodparts import _native

PRECISIONS = ("fp32", "bf16", "int8")
INSTRUCTION_SETS = ("generic", "avx2", "avx512", "amx")


def unit(rng: np.random.Generator, rows: int, width: int) -> Floats:
    vectors = rng.standard_normal((rows, width)).astype(np.float32)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-20), np.float32)


def bank_of(rows: Floats, precision: str = "fp32") -> _native.Bank:
    bank = _native.Bank(rows.shape[1], precision)
    bank.append(rows)
    return bank


def check(rows: Floats, queries: Floats, precision: str, threads: int = 0) -> None:
    """Compare a search with numpy in float64: products must be within the bank's bound, rows as good as the best."""
    bank = bank_of(rows, precision)
    product, index = bank.search(queries, threads=threads)
    exact = queries.astype(np.float64) @ rows.T.astype(np.float64)
    bound = bank.error_bound(float(np.abs(queries).max(initial=0)))
    np.testing.assert_allclose(product, exact.max(axis=1), rtol=0, atol=bound)
    found = exact[np.arange(len(queries)), index]
    assert (found >= exact.max(axis=1) - 2 * bound).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 130), st.integers(1, 70), st.integers(1, 200), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_the_nearest_row_is_found(precision: str, rows: int, queries: int, width: int, threads: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    check(unit(rng, rows, width), unit(rng, queries, width), precision, threads)


def test_the_bound_holds_where_bf16_rounds_most() -> None:
    row = np.array([[0.501953, 0.864899]], np.float32)  # both are almost midway between two bfloat16 numbers
    check(row, row, "bf16")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("rows", "queries", "width"), [(900, 225, 896), (1, 1, 1), (100_000, 3, 8), (33, 500, 31)])
def test_sizes_that_matter(precision: str, rows: int, queries: int, width: int) -> None:
    rng = np.random.default_rng(0)
    check(unit(rng, rows, width), unit(rng, queries, width), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("width", [5, 64, 896])
def test_zeros_duplicates_and_ties(precision: str, width: int) -> None:
    rng = np.random.default_rng(1)
    some = unit(rng, 40, width)
    rows = np.concatenate([np.zeros((2, width), np.float32), some, some, some[:7]])
    product, index = bank_of(rows, precision).search(np.concatenate([some, np.zeros((3, width), np.float32)]))
    assert (index[: len(some)] == 2 + np.arange(len(some))).all(), "the first of equal rows"
    assert (product[len(some) :] == 0).all()
    assert (index[len(some) :] == 0).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_query_that_is_not_finite_has_no_product(precision: str) -> None:
    rng = np.random.default_rng(2)
    rows, queries = unit(rng, 50, 24), unit(rng, 5, 24)
    expected, _ = bank_of(rows, precision).search(queries)
    broken = queries.copy()
    broken[1, 3], broken[3, 0] = np.nan, np.inf
    product, index = bank_of(rows, precision).search(broken)
    assert np.isnan(product[[1, 3]]).all()
    assert (index[[1, 3]] == -1).all()
    np.testing.assert_array_equal(product[[0, 2, 4]], expected[[0, 2, 4]])


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_appending_in_pieces_is_appending_at_once(precision: str, pieces: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, queries = unit(rng, sum(pieces) + 1, 30), unit(rng, 9, 30)
    whole, parts = bank_of(rows, precision), _native.Bank(30, precision)
    for piece in np.split(rows, np.cumsum(pieces)):
        parts.append(np.ascontiguousarray(piece))
    assert parts.rows == whole.rows == len(rows)
    for one, other in zip(whole.search(queries), parts.search(queries), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1.0), ("bf16", 0.5), ("int8", 0.25)])
def test_a_bank_takes_no_more_memory_than_its_rows(precision: str, share: float) -> None:
    bank = bank_of(np.zeros((3600, 896), np.float32), precision)
    # int8 also has a scale and a sum for each row. The last panel of 32 rows need not be full.
    assert bank.nbytes <= share * (3600 + 31) * 896 * 4 + (8 * 3632 if precision == "int8" else 0)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_every_instruction_set_of_this_processor(isa: str) -> None:
    """Run in a process of its own, because a process chooses its instruction set once."""
    program = """
import numpy as np
from goodparts import _native
from tests.cpp_ext.test_search import PRECISIONS, check, unit
rng = np.random.default_rng(3)
for precision in PRECISIONS:
    for rows, queries, width in ((100, 45, 896), (31, 17, 33), (64, 1, 129)):
        check(unit(rng, rows, width), unit(rng, queries, width), precision)
print(_native.isa())
"""
    environment = {**os.environ, "GOODPARTS_ISA": isa}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    used = done.stdout.strip()
    if used != isa:
        pytest.skip(f"this processor has no {isa}: {used} was tested")


def test_errors_tell_what_is_wrong() -> None:
    bank = bank_of(np.eye(4, dtype=np.float32))
    with pytest.raises(TypeError, match="queries is float64: float32 is accepted"):
        bank.search(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"queries is \[1,5\]: \[n,4\] is accepted"):
        bank.search(np.zeros((1, 5), np.float32))
    with pytest.raises(ValueError, match="queries has gaps"):
        bank.search(np.zeros((4, 8), np.float32)[:, ::2])
    with pytest.raises(ValueError, match="row 1 holds a value that is not finite"):
        bank.append(np.array([[0, 0, 0, 0], [0, np.inf, 0, 0]], np.float32))
    assert bank.rows == 4, "a refused append changes nothing"
    with pytest.raises(ValueError, match="the bank is empty"):
        _native.Bank(4).search(np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="precision 'fp8': fp32, bf16 and int8 are accepted"):
        _native.Bank(4, "fp8")
    with pytest.raises(ValueError, match="width 0: from 1 to 65536 are accepted"):
        _native.Bank(0)
