"""How many threads work: a bound for all libraries, and one for numpy, to keep it out of the encoder's way."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController

_blas = ThreadpoolController()
_lock = threading.RLock()


def bound_threads(threads: int | None) -> int | None:
    """Return a bound on threads that every library takes: at most one for each processor; None stays no bound."""
    return None if threads is None else min(threads, os.cpu_count() or 1)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run numpy's matrix products inside on the thread that asks for them.

    The helper threads of numpy's BLAS go on spinning after a product and take a core from the encoder's next
    frame: 30 to 45 ms of 130 to 310 on two cores (`goodparts bench frame`). The setting is the process's and
    belongs to one thread at a time, so threads take turns.
    """
    with _lock, _blas.limit(limits=1, user_api="blas"):
        yield
