from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from goodparts.runtime.core.threads import bound_threads, one_blas_thread
from threadpoolctl import threadpool_info


def blas_threads() -> set[int]:
    """Return the numbers of threads of numpy's own BLAS. torch and scipy have BLAS libraries of their own."""
    return {library["num_threads"] for library in threadpool_info() if "numpy" in library["filepath"]}


def test_threads_take_turns_and_restore_the_setting() -> None:
    before = blas_threads()

    def look(_: int) -> frozenset[int]:
        with one_blas_thread():
            return frozenset(blas_threads())

    with ThreadPoolExecutor(4) as pool:
        seen = set(pool.map(look, range(100)))
    assert seen == {frozenset({1})}
    assert blas_threads() == before


def test_a_bound_is_never_above_the_number_of_processors() -> None:
    assert bound_threads(None) is None
    assert bound_threads(1) == 1
    assert bound_threads(10**20) == os.cpu_count()
