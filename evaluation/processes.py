"""Further processes, which share the memory of imported modules on systems that can fork."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import TypeVar

from goodparts.runtime.core.errors import BackendError

from goodparts.cli import show_log

T = TypeVar("T")


def context() -> BaseContext:
    """Return the multiprocessing context that starts processes.

    This process itself is never forked, because the threads of inference libraries do not survive a fork.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(["goodparts.evaluation.workers"])
    return forkserver


def run_in_process(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a new process, whose memory is freed when it ends.

    Args:
        function: A function of a module, so that it can be pickled.
        arguments: Its positional arguments.

    Returns:
        The function's result.

    Raises:
        BackendError: The process was killed.
    """
    with ProcessPoolExecutor(1, context(), initializer=show_log) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise BackendError("a process was killed before it was done: is there enough memory?") from error
