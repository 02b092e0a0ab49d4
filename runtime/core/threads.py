"""Bounds on threads: one for all libraries, and one for numpy, so that it does not disturb the encoder."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController

_blas = ThreadpoolController()
_lock = threading.RLock()


def bound_threads(threads: int | None) -> int | None:
    """Return a bound on threads that every library accepts: at most one thread for each processor.

    Args:
        threads: The requested bound; None means no bound, and is returned as None.
    """
    return None if threads is None else min(threads, os.cpu_count() or 1)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run numpy's matrix products of the block on the calling thread only.

    After a product, the helper threads of numpy's BLAS keep spinning and take a core from the encoder's next frame.
    On two cores that costs 30 to 45 ms of a frame's 130 to 310 ms (`goodparts bench frame`). The setting applies to
    the whole process, so threads enter the block one after another.

    Yields:
        Nothing.
    """
    with _lock, _blas.limit(limits=1, user_api="blas"):
        yield
