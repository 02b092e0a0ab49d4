"""Who measures the categories: this process, several on this machine, or a Ray cluster.

A task is a category, whose photos are so decoded once; with more workers than categories, some of its seeds. Workers
keep nothing but the files of finished cells (cells.py): one that dies loses the cell it was at, and whoever takes over
its task goes on behind the last that is finished.
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

from .plan import Sweep, open_plan
from .processes import context
from .run import Outcome, Plan, measure_category

log = logging.getLogger(__name__)

RETRIES = 3
"""So often may workers die in a row, or over one task, before the sweep gives up."""


class Task(NamedTuple):
    """Some seeds of a category."""

    category: str
    seeds: range


def divide(categories: Sequence[str], seeds: int, workers: int) -> list[Task]:
    """A task for each category; or for each of as many parts of its seeds as give every worker one."""
    parts = min(seeds, -(-workers // len(categories)))
    bounds = [seeds * part // parts for part in range(parts + 1)]
    return [Task(name, range(*bound)) for name in categories for bound in itertools.pairwise(bounds)]


def measure_all(sweep: Sweep, plan: Plan, categories: Sequence[str]) -> dict[str, Outcome]:
    """Measure the categories; outcomes in their order. The sweep as TOML would have it, the plan as it was opened."""
    if sweep.ray is not None:
        results = _on_ray(sweep, categories)
    elif sweep.workers > 1:
        results = _in_processes(sweep, divide(categories, sweep.seeds, sweep.workers))
    else:
        results = ((task, measure_category(plan, *task)) for task in divide(categories, sweep.seeds, 1))
    found: list[tuple[Task, Outcome]] = []
    for task, outcome in results:
        found.append((task, outcome))
        part = "" if len(task.seeds) == sweep.seeds else f", seeds {task.seeds.start} to {task.seeds.stop - 1}"
        share = sum(len(one.seeds) for one, _ in found) / (len(categories) * sweep.seeds)
        log.info("%s%s: done, %.0f%% of all", task.category, part, 100 * share)
    joined: dict[str, Outcome] = {}
    for task, outcome in sorted(found, key=lambda one: one[0].seeds.start):
        if task.category in joined:
            joined[task.category].join(outcome)
        else:
            joined[task.category] = outcome
    return {category: joined[category] for category in categories}


def _measure(sweep: Sweep, task: Task) -> Outcome:
    """In a worker."""
    return measure_category(_open(sweep), *task)


@functools.lru_cache(maxsize=1)
def _open(sweep: Sweep) -> Plan:
    """What a worker keeps open from one task to the next. The cores are shared among workers; Ray gives each one."""
    cores = 1 if sweep.ray else (os.cpu_count() or 1) // sweep.workers
    threads = sweep.threads or max(1, cores)
    torch.set_num_threads(threads)
    return open_plan(msgspec.structs.replace(sweep, threads=threads))[0]


def _in_processes(sweep: Sweep, tasks: Sequence[Task]) -> Iterator[tuple[Task, Outcome]]:
    """A dead process ends its pool; what was not done goes to a new one."""
    waiting, deaths = list(tasks), 0
    while waiting:
        with ProcessPoolExecutor(sweep.workers, context()) as pool:
            running = {pool.submit(_measure, sweep, task): task for task in waiting}
            try:
                for done in as_completed(running):
                    task, outcome = running[done], done.result()
                    waiting.remove(task)
                    deaths = 0
                    yield task, outcome
            except BrokenProcessPool as error:
                deaths += 1
                if deaths > RETRIES:
                    raise BackendError(
                        f"workers died {deaths} times in a row, last with {waiting[0].category} to do: is there enough "
                        "memory? finished cells are kept"
                    ) from error
                log.info("a worker died: another takes over")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _on_ray(sweep: Sweep, categories: Sequence[str]) -> Iterator[tuple[Task, Outcome]]:
    """On the cluster at an address, or a local one of so many workers. Its machines see the same files."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise BackendError(f"--ray needs Ray: {install_line('sweep')}") from error
    local = {"num_cpus": sweep.workers, "include_dashboard": False} if sweep.ray == "local" else {"address": sweep.ray}
    ray.init(log_to_driver=False, **local)
    try:
        measure = ray.remote(num_cpus=1, max_retries=RETRIES)(_measure)
        tasks = divide(categories, sweep.seeds, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
        running = {measure.remote(sweep, task): task for task in tasks}
        while running:
            (done,), _ = ray.wait(list(running))
            try:
                outcome = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.WorkerCrashedError as error:
                raise BackendError(
                    f"a worker died {RETRIES + 1} times over one task; finished cells are kept"
                ) from error
            yield running.pop(done), outcome
    finally:
        ray.shutdown()
