"""The partition of a large bank: a search compares a query with only some of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from goodparts.runtime.core.scoring import Floats

from tests.cpp_ext.test_search import PRECISIONS, bank_of, unit

WIDTH, ROWS = 24, 8000


def clustered(seed: int, count: int) -> Floats:
    """Return unit vectors around 60 directions. The patches of many photos of one product are similar."""
    directions = unit(np.random.default_rng(0), 60, WIDTH)
    rng = np.random.default_rng([1, seed])
    rows = directions[rng.integers(60, size=count)] + 0.08 * rng.standard_normal((count, WIDTH)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("recall", [0.5, 0.9, 0.99])
def test_the_recall_stated_is_the_recall_found(precision: str, recall: float) -> None:
    rows, known, new = clustered(0, ROWS), clustered(1, 2000), clustered(2, 2000)
    whole, parts = bank_of(rows, precision), bank_of(rows, precision)
    stated = parts.partition(known, recall)
    assert recall <= stated < 1
    for queries, slack in ((known, 0.0), (new, 0.03)):  # 0.03: three standard deviations of a share of 2000, at 0.5
        exact, _ = whole.search(queries)
        found, index = parts.search(queries)
        assert (found <= exact + 1e-6).all()
        # Different rows can have equal products in int8, so the share found can be a little above the stated one.
        assert np.mean(found >= exact - 1e-6) >= stated - slack
        np.testing.assert_allclose(
            found, (queries * rows[index]).sum(axis=1), atol=2 * parts.error_bound(float(np.abs(queries).max()))
        )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_appended_later_are_found(precision: str) -> None:
    bank = bank_of(clustered(0, ROWS), precision)
    bank.partition(clustered(1, 500), 0.9)
    extra = unit(np.random.default_rng(5), 300, WIDTH)
    bank.append(extra)
    _, index = bank.search(extra)
    assert bank.rows == ROWS + len(extra)
    np.testing.assert_array_equal(index, ROWS + np.arange(len(extra)))


def test_threads_do_not_change_what_is_found() -> None:
    bank = bank_of(clustered(0, ROWS))
    bank.partition(clustered(1, 500), 0.95)
    queries = clustered(2, 700)
    for one, other in zip(bank.search(queries, threads=1), bank.search(queries, threads=2), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_query_that_is_not_finite_has_no_product() -> None:
    bank = bank_of(clustered(0, ROWS))
    bank.partition(clustered(1, 500), 0.9)
    queries = clustered(2, 3)
    queries[1, 4] = np.nan
    product, index = bank.search(queries)
    assert np.isnan(product[1])
    assert index[1] == -1
    assert np.isfinite(product[[0, 2]]).all()


def test_a_bank_stays_whole_if_cells_gain_nothing() -> None:
    spread = unit(np.random.default_rng(3), ROWS, 256)  # no row has near neighbours
    for rows, recall in ((clustered(0, 4000), 0.9), (clustered(0, ROWS), 1.0), (spread, 0.99)):
        whole, bank = bank_of(rows), bank_of(rows)
        queries = unit(np.random.default_rng(4), 400, rows.shape[1])
        assert bank.partition(queries, recall) == 1.0
        for one, other in zip(whole.search(queries), bank.search(queries), strict=True):
            np.testing.assert_array_equal(one, other)


def test_errors_tell_what_is_wrong() -> None:
    bank, queries = bank_of(clustered(0, ROWS)), clustered(1, 100)
    with pytest.raises(ValueError, match="recall 1.5"):
        bank.partition(queries, 1.5)
    with pytest.raises(ValueError, match="no queries"):
        bank.partition(queries[:0], 0.9)
    with pytest.raises(ValueError, match="not finite"):
        bank.partition(np.full((1, WIDTH), np.inf, np.float32), 0.9)
    bank.partition(queries, 0.9)
    with pytest.raises(ValueError, match="has a partition already"):
        bank.partition(queries, 0.9)
