"""One engine for all sources: requests that wait for it at the same moment share a pass, if that is faster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..backends.session import DeviceSession, GraphName, Session
from ..backends.tensors import Outputs
from ..core import native
from ..core.conditions import Conditions
from ..core.preprocess import Array8
from ..engine.engine import Engine
from ..engine.graphs import LazyGraphs


@dataclass(eq=False)
class _Request:
    views: Array8
    conditions: Conditions | None
    outputs: Outputs | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None


class Turn(threading.Condition):
    """A lock for passes of the encoder. Of all sessions that share a turn, only one runs at a time."""

    taken = False
    """Whether a pass is running."""


class BatchingSession:
    """A session that several threads may use.

    Requests that arrive while a pass runs share the next pass if their conditions are equal, also those of different
    products. No request waits for others to arrive.

    Args:
        session: The session that runs the passes.
        bound: The most seconds that a shared pass may take, estimated from the time per view of the last pass. A
            request that takes longer has a pass of its own. With 0, every request has a pass of its own.
        turn: The lock for passes; None makes a new one.
    """

    def __init__(self, session: Session, bound: float, turn: Turn | None = None) -> None:
        self._session, self._bound = session, bound
        self.description = session.description
        self._turn = turn or Turn()
        self._waiting: list[_Request] = []
        self._seconds_per_view = 0.0

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        request = _Request(views, conditions)
        with self._turn:
            self._waiting.append(request)
        while batch := self._lead(request):  # the pass may hold other requests and not yet this one
            try:
                self._pass(batch)
            finally:
                with self._turn:
                    self._turn.taken = False
                    self._turn.notify_all()
        if request.error is not None:
            raise request.error
        assert request.outputs is not None
        return request.outputs

    def _lead(self, request: _Request) -> list[_Request]:
        """Wait for the request or for the turn; return no requests if it is done, otherwise those of the next pass."""
        with self._turn:
            self._turn.wait_for(lambda: request.done or not self._turn.taken)
            if request.done:
                return []
            self._turn.taken = True
            return self._choose()

    def _choose(self) -> list[_Request]:
        """Remove and return the oldest requests with the conditions of the first, as many as the bound allows."""
        batch: list[_Request] = []
        views = 0
        for request in self._waiting:
            if request.conditions != self._waiting[0].conditions:
                continue
            views += len(request.views)
            if batch and views * self._seconds_per_view >= self._bound:
                break
            batch.append(request)
        self._waiting = [request for request in self._waiting if request not in batch]
        return batch

    def _pass(self, requests: list[_Request]) -> None:
        together = requests[0].views if len(requests) == 1 else np.concatenate([each.views for each in requests])
        start = time.perf_counter()
        try:
            outputs = self._session.run(together, requests[0].conditions)
        except Exception as error:
            for request in requests:
                request.error = error
            return
        self._seconds_per_view = (time.perf_counter() - start) / len(together)
        first = 0
        for request in requests:
            last = first + len(request.views)
            request.outputs = {name: output[first:last] for name, output in outputs.items()}
            first = last


TOGETHER, GAIN = 4, 0.9
"""The settings of `sharing_pays`: the number of views in a shared pass, and the longest time that the pass may take, as
a share of the time of single passes."""


def sharing_pays(session: Session, size: int) -> bool:
    """Measure whether a shared pass is faster than single passes.

    On few cores a pass of one view uses all of them, and then changing the size of passes only costs time.

    Args:
        session: The session to measure.
        size: The side of its views, in pixels.

    Returns:
        Whether TOGETHER views in one pass take at most GAIN times as long as in single passes.
    """
    views = np.zeros((TOGETHER, size, size, 3), np.uint8)

    def fastest(count: int) -> float:
        spans = []
        for _ in range(3):
            start = time.perf_counter()
            session.run(views[:count])
            spans.append(time.perf_counter() - start)
        return min(spans)

    return fastest(TOGETHER) <= GAIN * TOGETHER * fastest(1)


class BatchingGraphs(LazyGraphs):
    """The graphs of an engine, each in a session that several threads may use.

    Args:
        graphs: The graphs of the engine.
        bound: The most seconds that a shared pass may take, as for BatchingSession.
    """

    def __init__(self, graphs: dict[GraphName, Session], bound: float) -> None:
        super().__init__()
        self._graphs, self._bound = graphs, bound
        self._turn = Turn()  # shared, because passes of two graphs at once slow each other down

    def open(self, name: GraphName) -> Session:
        """Wrap a graph, which is opened if it is not open yet.

        Args:
            name: The name of the graph.

        Returns:
            The session of the graph.
        """
        return BatchingSession(self._graphs[name], self._bound, self._turn)


class SharedEngine:
    """The engine that all sources use. It is opened again when it fails, for example when a GPU is lost.

    Args:
        open_engine: Opens the engine.
        bound: The most seconds that a shared pass may take, as for BatchingSession.

    Attributes:
        engine: The engine in use.
    """

    def __init__(self, open_engine: Callable[[], Engine], bound: float) -> None:
        self._open_engine, self._bound = open_engine, bound
        self._lock = threading.Lock()
        self.engine = self._open()

    def renew(self, failed: Engine) -> None:
        """Open the engine again, unless another thread has already replaced the failed one.

        Args:
            failed: The engine that failed.
        """
        with self._lock:
            if self.engine is failed:
                self.engine = self._open()

    def _open(self) -> Engine:
        engine = self._open_engine()
        plain = engine.graphs["plain"]
        if native.cuda() is not None and isinstance(plain, DeviceSession):
            return engine  # its frames stay on the GPU from pixels to scores
        pays = self._bound and sharing_pays(plain, engine.encoder.image_size)
        graphs = BatchingGraphs(engine.graphs, self._bound if pays else 0.0)
        return Engine(engine.spec, engine.precision, graphs, engine.threads, engine.folder)
