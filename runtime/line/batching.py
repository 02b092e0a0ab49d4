"""One engine for all sources: what waits for it at the same moment goes through it together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import native
from ..backends import DeviceSession, Session
from ..conditions import Conditions
from ..engine import Engine
from ..preprocess import Array8
from ..scoring import Floats


@dataclass(eq=False)
class _Request:
    views: Array8
    conditions: Conditions | None
    outputs: list[Floats] | None = None
    error: BaseException | None = None


class BatchingSession:
    """A session for several threads. Views that arrived while it was busy share its next pass, whatever product they
    are of, unless they are conditioned otherwise; nothing ever waits for others to come.

    bound: seconds that a shared pass may take, by the time a view took in the last one; a request that is longer alone
    goes alone. turn: held during a pass; sessions that have it in common run one at a time.
    """

    def __init__(self, session: Session, bound: float, turn: threading.Lock | None = None) -> None:
        self._session, self._bound = session, bound
        self.description = session.description
        self._turn = turn or threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Request] = []
        self._seconds_per_view = 0.0

    def run(self, views: Array8, conditions: Conditions | None = None) -> list[Floats]:
        request = _Request(views, conditions)
        with self._lock:
            self._waiting.append(request)
        while request.outputs is None and request.error is None:
            with self._turn:  # who has it runs for all that wait, perhaps for this one
                if request.outputs is None and request.error is None:
                    self._pass(self._choose())
        if request.error is not None:
            raise request.error
        assert request.outputs is not None
        return request.outputs

    def _choose(self) -> list[_Request]:
        """The longest waiting requests with the conditions of the first, as many as the bound allows."""
        with self._lock:
            chosen: list[_Request] = []
            views = 0
            for request in self._waiting:
                if request.conditions != self._waiting[0].conditions:
                    continue
                views += len(request.views)
                if chosen and views * self._seconds_per_view > self._bound:
                    break
                chosen.append(request)
            self._waiting = [request for request in self._waiting if request not in chosen]
        return chosen

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
            request.outputs = [output[first:last] for output in outputs]
            first = last


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
        if native.cuda() is not None and isinstance(engine.session, DeviceSession):
            return engine  # its frames stay on the GPU from pixels to scores, one product at a time
        turn = threading.Lock()  # a pass of one graph would only slow down one of the other

        def shared(session: Session) -> BatchingSession:
            return BatchingSession(session, self._bound, turn)

        return Engine(
            engine.spec,
            engine.precision,
            shared(engine.session),
            engine.threads,
            lambda: shared(engine.open_prompted()),
        )
