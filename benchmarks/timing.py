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
    """The timed calls of one contender.

    Attributes:
        seconds: The duration of each call.
        results: The result of each call.
    """

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
    """Return a percentile, interpolated between the two nearest values.

    Of few values, the 99th is near the largest.

    Args:
        values: The values, in any order; at least one.
        rank: The percentile, 0 to 100.
    """
    return float(np.percentile(values, rank))


def interleave(
    contenders: Mapping[str, Contender[T]], repeat: int, warmup: int = 1, settle: int = 0, rest: float = 0.0
) -> dict[str, Timing[T]]:
    """Time contenders in turn. Every second round runs backwards, to cancel steady drift.

    Args:
        contenders: The contenders by name.
        repeat: The number of rounds, in each of which every contender has one timed call.
        warmup: The number of untimed calls of each contender at the start.
        settle: The number of untimed calls before every timed one, with which a contender brings its own data into the
            caches.
        rest: The seconds before every turn, in which the threads of other processes stop spinning.

    Returns:
        The timed calls of each contender, by its name.
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
    """Return a contender that makes the call in this process.

    Args:
        call: The function that is timed.
    """

    def take_turn(settle: int) -> tuple[float, T]:
        for _ in range(settle):
            call()
        start = time.perf_counter()
        result = call()
        return time.perf_counter() - start, result

    return take_turn


def check_same(name: str, difference: float, tolerance: float) -> None:
    """Check that ours and the peer compute the same, because otherwise their times are not comparable.

    Args:
        name: The name of the measured quantity, for the message.
        difference: The largest difference between the results.
        tolerance: The largest difference that is accepted.

    Raises:
        ParityError: The difference is larger, or NaN.
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

        Args:
            prepare: A function of a module, which the new process calls. It returns the call to be timed.
            *arguments: The arguments of `prepare`.
            environment: Environment variables that are set only in the new process; None for none.
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
        """Take a turn.

        Args:
            settle: The number of untimed calls before the timed call.

        Returns:
            The seconds and the result of the timed call.

        Raises:
            BackendError: The process has ended. If the call itself fails, its own error is raised.
        """
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
        """Wait until the call is prepared. If the preparation failed, its own error is raised.

        Raises:
            BackendError: The process has ended.
        """
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
