"""The clock: contenders take turns within one run, so that whatever else the machine does falls on all alike.

Libraries keep threads that spin for a while after their work, and on few cores they stall one another: mixed
in one process, a call can take ten times as long as alone. Contenders of different libraries therefore live
in processes of their own (`Worker`), which sleep while they wait for their turn.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np
from goodparts.runtime.core.errors import BackendError

T = TypeVar("T")

REST = 0.05
"""Seconds after which the threads of the libraries here have gone to sleep."""

Turn = Callable[[int], tuple[float, T]]
"""A contender: call it so many times untimed, then once on the clock → seconds, and what it returned."""


@dataclass(frozen=True)
class Timing(Generic[T]):
    """Seconds of every timed call of one contender, and what the calls returned."""

    seconds: list[float]
    returned: list[T]

    @property
    def median(self) -> float:
        return percentile(self.seconds, 50)

    @property
    def p99(self) -> float:
        return percentile(self.seconds, 99)


def percentile(values: list[float], rank: float) -> float:
    """Linear between the two nearest values; of a few values, the 99th lies near the largest."""
    return float(np.percentile(values, rank))


def interleave(
    contenders: Mapping[str, Turn[T]], repeat: int, warm: int = 1, settle: int = 0, rest: float = 0.0
) -> dict[str, Timing[T]]:
    """Time contenders by turns, `repeat` times each; every other round runs backwards, against steady drift.

    warm: untimed calls of each at the start; settle: untimed calls before every timed one, so that a
    contender finds its own data in the caches; rest: seconds before every turn, so that another process's
    threads have stopped spinning.
    """
    for turn in contenders.values():
        if warm:
            turn(warm - 1)
    names = list(contenders)
    timings: dict[str, Timing[T]] = {name: Timing([], []) for name in names}
    for number in range(repeat):
        for name in names[::-1] if number % 2 else names:
            time.sleep(rest)
            seconds, result = contenders[name](settle)
            timings[name].seconds.append(seconds)
            timings[name].returned.append(result)
    return timings


def here(call: Callable[[], T]) -> Turn[T]:
    """A contender that runs in this process."""

    def turn(settle: int) -> tuple[float, T]:
        for _ in range(settle):
            call()
        start = time.perf_counter()
        result = call()
        return time.perf_counter() - start, result

    return turn


class Worker(Generic[T]):
    """A contender in a process of its own. Use as a context manager; calling it takes a turn."""

    def __init__(
        self, prepare: Callable[..., Callable[[], T]], *arguments: Any, environment: Mapping[str, str] | None = None
    ) -> None:
        """prepare: a module's function; called there with the arguments, it returns the call to be timed.
        environment: variables set there and not here."""
        spawn = multiprocessing.get_context("spawn")
        self._end, theirs = spawn.Pipe()
        self._name = prepare.__name__
        self._process = spawn.Process(target=_work, args=(theirs, prepare, arguments), daemon=True)
        before = dict(os.environ)
        os.environ.update(environment or {})
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        theirs.close()

    def __call__(self, settle: int) -> tuple[float, T]:
        seconds, result = self._ask(settle)
        return seconds, result

    def _ask(self, settle: int | None) -> Any:
        try:
            self._end.send(settle)
            answer = self._end.recv()
        except (EOFError, OSError) as error:
            raise BackendError(
                f"the process that measures {self._name!r} ended early: see its message above"
            ) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def check(self) -> None:
        """Wait until it is prepared; raises what preparing raised."""
        self._ask(None)

    def __enter__(self) -> Worker[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _work(end: Connection, prepare: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> None:
    """The worker's side: turns until the other side closes; asked for None, it only says that it is prepared."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends this process
    logging.disable(logging.WARNING)  # what libraries remark was said by the parent already
    try:
        turn = here(prepare(*arguments))
        while True:
            settle = end.recv()
            end.send(None if settle is None else turn(settle))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        end.send(error)
