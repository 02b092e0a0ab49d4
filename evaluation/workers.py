"""Measures all categories: in this process, in several processes on this machine, or on a Ray cluster.

A work item is a category, so that its photos are decoded once. With more workers than categories, an item is some seeds
of a category. A worker writes each finished measurement to the cache (cache.py). If a worker dies, the unfinished
measurement is lost, and the worker that takes over its item continues after the last finished one.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import msgspec
import torch
from goodparts.runtime.core.errors import BackendError, install_line

from .plan import EvaluationPlan, open_plan
from .processes import context
from .results import CategoryResult
from .run import measure_category
from .sweep import Sweep

log = logging.getLogger(__name__)

RETRIES = 3
"""How often workers may die in a row, or over one item, before the sweep gives up."""


class WorkItem(NamedTuple):
    """Some seeds of a category.

    Attributes:
        category: The category's name.
        seeds: The seeds.
    """

    category: str
    seeds: range


def divide(categories: Sequence[str], seeds: int, workers: int) -> list[WorkItem]:
    """Return an item for each category, or several items if there are more workers than categories.

    Args:
        categories: The categories, at least one.
        seeds: The number of seeds.
        workers: The number of workers.
    """
    parts = min(seeds, -(-workers // len(categories)))
    bounds = [seeds * part // parts for part in range(parts + 1)]
    return [WorkItem(name, range(*bound)) for name in categories for bound in itertools.pairwise(bounds)]


def measure_all(sweep: Sweep, plan: EvaluationPlan, categories: Sequence[str]) -> list[CategoryResult]:
    """Measure the categories.

    Args:
        sweep: The options of the evaluation.
        plan: The sweep's plan, as opened in this process.
        categories: The categories.

    Returns:
        Their results in the same order.

    Raises:
        BackendError: Workers died again and again, or Ray is not installed.
    """
    if sweep.ray is not None:
        results = _on_ray(sweep, categories)
    elif sweep.workers > 1:
        results = _in_processes(sweep, divide(categories, sweep.seeds, sweep.workers))
    else:
        results = ((item, measure_category(plan, *item)) for item in divide(categories, sweep.seeds, 1))
    finished: dict[WorkItem, CategoryResult] = {}
    for item, result in results:
        finished[item] = result
        part = "" if len(item.seeds) == sweep.seeds else f", seeds {item.seeds.start} to {item.seeds.stop - 1}"
        share = sum(len(seeds) for _, seeds in finished) / (len(categories) * sweep.seeds)
        log.info("%s%s: done, %.0f%% of all", item.category, part, 100 * share)
    joined = {category: CategoryResult(category) for category in categories}
    for item in sorted(finished, key=lambda item: item.seeds.start):
        joined[item.category].extend(finished[item])
    return list(joined.values())


def _measure_in_worker(sweep: Sweep, item: WorkItem) -> CategoryResult:
    return measure_category(_open_in_worker(sweep), *item)


@functools.lru_cache(maxsize=1)
def _open_in_worker(sweep: Sweep) -> EvaluationPlan:
    """Open the plan, which a worker keeps from one item to the next.

    Workers share the machine's cores; on Ray each worker has one core.
    """
    cores = 1 if sweep.ray else (os.cpu_count() or 1) // sweep.workers
    threads = sweep.threads or max(1, cores)
    torch.set_num_threads(threads)
    return open_plan(msgspec.structs.replace(sweep, threads=threads))[0]


def _in_processes(sweep: Sweep, items: Sequence[WorkItem]) -> Iterator[tuple[WorkItem, CategoryResult]]:
    """Measure in processes. If one dies, its pool ends, and a new pool takes over the remaining items."""
    waiting, deaths = list(items), 0
    while waiting:
        with ProcessPoolExecutor(sweep.workers, context()) as pool:
            running = {pool.submit(_measure_in_worker, sweep, item): item for item in waiting}
            try:
                for future in as_completed(running):
                    item, result = running[future], future.result()
                    waiting.remove(item)
                    deaths = 0
                    yield item, result
            except BrokenProcessPool as error:
                deaths += 1
                if deaths > RETRIES:
                    raise BackendError(
                        f"workers died {deaths} times in a row, {waiting[0].category} is not finished: is there enough "
                        "memory? finished measurements are kept"
                    ) from error
                log.info("a worker died: another takes over")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _on_ray(sweep: Sweep, categories: Sequence[str]) -> Iterator[tuple[WorkItem, CategoryResult]]:
    """Measure on the cluster at sweep.ray, whose machines have the same files, or on a local one with sweep.workers."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise BackendError(f"--ray needs Ray: {install_line('sweep')}") from error
    local = {"num_cpus": sweep.workers, "include_dashboard": False} if sweep.ray == "local" else {"address": sweep.ray}
    ray.init(log_to_driver=False, **local)
    try:
        measure = ray.remote(num_cpus=1, max_retries=RETRIES)(_measure_in_worker)
        cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        items = divide(categories, sweep.seeds, cores)
        running = {measure.remote(sweep, item): item for item in items}
        while running:
            (future,), _ = ray.wait(list(running))
            try:
                result = ray.get(future)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.WorkerCrashedError as error:
                raise BackendError(
                    f"a worker died {RETRIES + 1} times over one category; finished measurements are kept"
                ) from error
            yield running.pop(future), result
    finally:
        ray.shutdown()
