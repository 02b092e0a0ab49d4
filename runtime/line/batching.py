"""One engine for all sources: what waits for it at the same moment goes through it together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import native
from ..backends import DeviceSession, Session
from ..engine import Engine
from ..preprocess import Array8
from ..scoring import Floats


@dataclass(eq=False)
class _Request:
    views: Array8
    outputs: list[Floats] | None = None
    error: BaseException | None = None


class BatchingSession:
    """A session for several threads. Views that arrived while it was busy share its next pass, whatever product they
    are of; nothing ever waits for others to come.

    bound: seconds that a shared pass may take, by the time a view took in the last one; a request that is longer alone
    goes alone.
    """

    def __init__(self, session: Session, bound: float) -> None:
        self._session, self._bound = session, bound
        self.description = session.description
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Request] = []
        self._seconds_per_view = 0.0

    def run(self, views: Array8) -> list[Floats]:
        request = _Request(views)
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
        """The longest waiting requests, as many as the bound allows."""
        with self._lock:
            count, views = 0, 0
            for request in self._waiting:
                views += len(request.views)
                if count and views * self._seconds_per_view > self._bound:
                    break
                count += 1
            chosen, self._waiting = self._waiting[:count], self._waiting[count:]
        return chosen

    def _pass(self, requests: list[_Request]) -> None:
        together = requests[0].views if len(requests) == 1 else np.concatenate([each.views for each in requests])
        start = time.perf_counter()
        try:
            outputs = self._session.run(together)
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
        return Engine(engine.spec, engine.precision, BatchingSession(engine.session, self._bound), engine.threads)
