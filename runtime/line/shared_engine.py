"""One engine for all sources: what waits for it at the same moment goes through it together, where that is faster."""

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
    """Whose pass it is; sessions that have one in common run one at a time."""

    taken = False


class BatchingSession:
    """A session for several threads. Views that arrived while it was busy share its next pass, whatever product they
    are of, unless they are conditioned otherwise; nothing ever waits for others to come.

    bound: seconds that a shared pass may take, by the time a view took in the last one; a request that is longer alone
    goes alone, and with 0 each does.
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
        while batch := self._lead(request):  # who leads runs for all that wait, perhaps not yet for this one
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
        """Wait: return nothing once the request is done, or the requests of the next pass once nobody leads."""
        with self._turn:
            self._turn.wait_for(lambda: request.done or not self._turn.taken)
            if request.done:
                return []
            self._turn.taken = True
            return self._choose()

    def _choose(self) -> list[_Request]:
        """Take the longest waiting requests with the conditions of the first, as many as the bound allows."""
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


def sharing_pays(session: Session, size: int) -> bool:
    """Whether TOGETHER views [S,S,3] in one pass take at most GAIN of what they take one after another: on few cores a
    pass of one view leaves none idle, and changing the size of passes costs time."""
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
    """The graphs of an engine, each in a session for several threads.

    graphs: those of the engine; bound: seconds that a shared pass may take (BatchingSession).
    """

    def __init__(self, graphs: dict[GraphName, Session], bound: float) -> None:
        super().__init__()
        self._graphs, self._bound = graphs, bound
        self._turn = Turn()  # a pass of one graph would only slow down one of the other

    def open(self, name: GraphName) -> Session:
        """Wrap a graph, which is opened if need be."""
        return BatchingSession(self._graphs[name], self._bound, self._turn)


class SharedEngine:
    """The engine that all sources use, opened again when it fails, as when a GPU is lost."""

    def __init__(self, open_engine: Callable[[], Engine], bound: float) -> None:
        self._open_engine, self._bound = open_engine, bound
        self._lock = threading.Lock()
        self.engine = self._open()

    def renew(self, failed: Engine) -> None:
        """Open the engine again, unless another thread has done so since `failed` was taken."""
        with self._lock:
            if self.engine is failed:
                self.engine = self._open()

    def _open(self) -> Engine:
        engine = self._open_engine()
        plain = engine.graphs["plain"]
        if native.cuda() is not None and isinstance(plain, DeviceSession):
            return engine  # its frames stay on the GPU from pixels to scores, one product at a time
        pays = self._bound and sharing_pays(plain, engine.encoder.image_size)
        graphs = BatchingGraphs(engine.graphs, self._bound if pays else 0.0)
        return Engine(engine.spec, engine.precision, graphs, engine.threads, engine.folder)
