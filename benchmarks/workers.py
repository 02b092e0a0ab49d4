"""Who measures the categories: this process, several on this machine, or a Ray cluster. Each task is a category.

Workers keep nothing but the files of finished cells (cells.py): one that dies loses the cell it was at, and whoever
takes over its category goes on behind the last that is finished.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext

import msgspec
import torch
from goodparts.runtime.errors import BackendError

from .evaluation import Outcome, Plan, measure_category
from .sweep import Sweep, open_plan

log = logging.getLogger(__name__)

RETRIES = 3
"""So often may workers die in a row, or over one category, before the sweep gives up."""


def measure_all(sweep: Sweep, plan: Plan, categories: Sequence[str]) -> dict[str, Outcome]:
    """Measure the categories; outcomes in their order. The sweep as TOML would have it, the plan as it was opened."""
    if sweep.ray is not None:
        results = _on_ray(sweep, categories)
    elif sweep.workers > 1:
        results = _in_processes(sweep, categories)
    else:
        results = (measure_category(plan, category) for category in categories)
    found: dict[str, Outcome] = {}
    for outcome in results:
        found[outcome.category] = outcome
        log.info("%s: done, %d of %d", outcome.category, len(found), len(categories))
    return {category: found[category] for category in categories}


def _measure(sweep: Sweep, category: str) -> Outcome:
    """In a worker."""
    return measure_category(_open(sweep), category)


@functools.lru_cache(maxsize=1)
def _open(sweep: Sweep) -> Plan:
    """What a worker keeps open from one category to the next. The cores are shared among workers."""
    threads = sweep.threads or max(1, (os.cpu_count() or 1) // sweep.workers)
    torch.set_num_threads(threads)
    return open_plan(msgspec.structs.replace(sweep, threads=threads))[0]


def _in_processes(sweep: Sweep, categories: Sequence[str]) -> Iterator[Outcome]:
    """A dead process ends its pool; what was not done goes to a new one."""
    waiting, deaths = list(categories), 0
    while waiting:
        with ProcessPoolExecutor(sweep.workers, _context()) as pool:
            tasks = {pool.submit(_measure, sweep, category): category for category in waiting}
            try:
                for task in as_completed(tasks):
                    outcome = task.result()
                    waiting.remove(outcome.category)
                    deaths = 0
                    yield outcome
            except BrokenProcessPool as error:
                deaths += 1
                if deaths > RETRIES:
                    raise BackendError(
                        f"workers died {deaths} times in a row, last with {waiting[0]} to do: is there enough memory? "
                        "finished cells are kept"
                    ) from error
                log.info("a worker died: another takes over")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _context() -> BaseContext:
    """Workers that share the memory of what they import, where the system can fork. It is never this process that is
    forked: inference libraries have threads, which a fork would lose."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _on_ray(sweep: Sweep, categories: Sequence[str]) -> Iterator[Outcome]:
    """On the cluster at an address, or a local one of so many workers. Its machines see the same files."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise BackendError('--ray needs Ray: pip install "goodparts[sweep]"') from error
    local = {"num_cpus": sweep.workers, "include_dashboard": False} if sweep.ray == "local" else {"address": sweep.ray}
    ray.init(log_to_driver=False, **local)
    try:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_measure)
        waiting = [task.remote(sweep, category) for category in categories]
        while waiting:
            (done,), waiting = ray.wait(waiting)
            try:
                yield ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.WorkerCrashedError as error:
                raise BackendError(
                    f"a worker died {RETRIES + 1} times over one category; finished cells are kept"
                ) from error
    finally:
        ray.shutdown()
