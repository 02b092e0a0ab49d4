"""Timing. Contenders take turns within one run, so that other work on the machine disturbs all of them equally.

The threads of a library keep spinning for a while after their work. On few cores, threads of several libraries in one
process block each other, and a call can take ten times as long as in a process of its own. Contenders of different
libraries therefore run in separate processes (`Worker`), which sleep while they wait for their turn.
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
from goodparts.runtime.core.errors import BackendError, ParityError

T = TypeVar("T")

REST = 0.05
"""Seconds after which the threads of the measured libraries have gone to sleep."""

Contender = Callable[[int], tuple[float, T]]
"""A function that is timed. It takes a number of untimed calls, makes these calls and then one timed call, and returns
the seconds and the result of the timed call."""


@dataclass(frozen=True)
class Timing(Generic[T]):
    """The seconds and the results of all timed calls of one contender."""

    seconds: list[float]
    results: list[T]

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return percentile(self.seconds, 50)

    @property
    def p99(self) -> float:
        """The 99th percentile of the seconds."""
        return percentile(self.seconds, 99)


def percentile(values: list[float], rank: float) -> float:
    """Return a percentile, interpolated between the two nearest values. Of few values, the 99th is near the largest."""
    return float(np.percentile(values, rank))


def interleave(
    contenders: Mapping[str, Contender[T]], repeat: int, warmup: int = 1, settle: int = 0, rest: float = 0.0
) -> dict[str, Timing[T]]:
    """Time contenders in turn, `repeat` times each. Every second round runs backwards, to cancel steady drift.

    warmup: untimed calls of each contender at the start; settle: untimed calls before every timed call, so that a
    contender finds its own data in the caches; rest: seconds before every turn, in which the threads of other
    processes stop spinning.
    """
    for contender in contenders.values():
        if warmup:
            contender(warmup - 1)
    names = list(contenders)
    timings: dict[str, Timing[T]] = {name: Timing([], []) for name in names}
    for number in range(repeat):
        for name in names[::-1] if number % 2 else names:
            time.sleep(rest)
            seconds, result = contenders[name](settle)
            timings[name].seconds.append(seconds)
            timings[name].results.append(result)
    return timings


def in_this_process(call: Callable[[], T]) -> Contender[T]:
    """Return a contender that makes the call in this process."""

    def take_turn(settle: int) -> tuple[float, T]:
        for _ in range(settle):
            call()
        start = time.perf_counter()
        result = call()
        return time.perf_counter() - start, result

    return take_turn


def check_same(name: str, difference: float, tolerance: float) -> None:
    """Raise ParityError if ours and the peer compute different results, because their times are then not comparable.

    difference: the largest difference between the results; NaN is not accepted. tolerance: the largest difference that
    is accepted.
    """
    if not difference <= tolerance:
        raise ParityError(
            f"{name}: ours and the peer differ by {difference:.1e}, at most {tolerance:.0e} is accepted: "
            "their times are not comparable"
        )


class Worker(Generic[T]):
    """A contender in a process of its own. It is a context manager; a call takes one turn."""

    def __init__(
        self, prepare: Callable[..., Callable[[], T]], *arguments: Any, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the process.

        prepare: a function of a module. The process calls it with the arguments, and it returns the call to be timed.
        environment: environment variables that are set only in the new process.
        """
        spawn = multiprocessing.get_context("spawn")
        self._connection, process_end = spawn.Pipe()
        self._name = prepare.__name__
        self._process = spawn.Process(target=_serve, args=(process_end, prepare, arguments), daemon=True)
        before = dict(os.environ)
        os.environ.update(environment or {})
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        process_end.close()

    def __call__(self, settle: int) -> tuple[float, T]:
        """Take a turn. Raise the error of the call, or BackendError if the process has ended."""
        seconds, result = self._request(settle)
        return seconds, result

    def _request(self, settle: int | None) -> Any:
        try:
            self._connection.send(settle)
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise BackendError(
                f"the process that measures {self._name!r} ended early: see its message above"
            ) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def check(self) -> None:
        """Wait until the call is prepared. Raise the error of a failed preparation."""
        self._request(None)

    def __enter__(self) -> Worker[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _serve(connection: Connection, prepare: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> None:
    """Take turns in the worker's process until the other side closes. The request None asks whether it is prepared."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives the signal and ends this process
    logging.disable(logging.WARNING)  # the parent has already logged the libraries' warnings
    try:
        contender = in_this_process(prepare(*arguments))
        while True:
            settle = connection.recv()
            connection.send(None if settle is None else contender(settle))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        connection.send(error)
