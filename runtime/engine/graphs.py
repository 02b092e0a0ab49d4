"""The open graphs of an engine. Each graph is opened at its first use."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from pathlib import Path

from ..backends.library import GraphFiles
from ..backends.registry import AUTO, check_name, choose_backend, installed, open_session
from ..backends.session import GraphName, Precision, Session
from ..core.errors import BackendError, EngineError
from .fastest import fastest_backend
from .plans import graph_files, open_plan, planned_backends
from .shipped import is_shipped
from .spec import EngineSpec

log = logging.getLogger(__name__)


class LazyGraphs(dict[GraphName, Session], ABC):
    """Open graphs by name. A missing graph is opened by the thread that uses it first."""

    def __init__(self) -> None:
        super().__init__()
        self._opening = threading.Lock()

    @abstractmethod
    def open(self, name: GraphName) -> Session:
        """Open a graph.

        Args:
            name: The graph's name, "plain" or "prompted".

        Returns:
            The open graph.

        Raises:
            EngineError: There is no such graph, or it is damaged.
            BackendError: The library is missing or cannot open it.
        """

    def __missing__(self, name: GraphName) -> Session:
        with self._opening:
            if name not in self:
                self[name] = self.open(name)
            return self[name]


class EngineGraphs(LazyGraphs):
    """The graphs of an engine folder in one precision, all on the same backend.

    Args:
        folder: The engine's folder.
        spec: The content of its engine.json.
        backend: A name in registry.BACKENDS, or "auto": the first of registry.AUTO that is installed and has a parity
            record of the plain graph. With the engine that ships with goodparts, "auto" is the fastest of them on this
            machine.
        precision: The precision of all graphs.
        threads: The most threads of the library; None means no bound.

    Raises:
        EngineError: The engine has no parity record of this precision and backend.
        BackendError: The library is not installed.
        ParityError: The engine that ships with goodparts differs from torch on this machine.
    """

    def __init__(self, folder: Path, spec: EngineSpec, backend: str, precision: Precision, threads: int | None) -> None:
        super().__init__()
        self._folder = folder.absolute()  # a graph may be opened after the working folder has changed
        self._spec, self._precision, self._threads = spec, precision, threads
        self._backend = backend
        if backend == "auto":
            plain = graph_files(self._folder, spec, "plain", precision)
            rests = self._recorded(plain)
            self._backend = choose_backend(backend, [*rests, *planned_backends(self._folder, plain)], precision)
            if is_shipped(self._folder):
                candidates = {name: rests[name] for name in AUTO if name in rests and installed(name)}
                self._backend = fastest_backend(self._folder, spec, precision, threads, candidates)

    def open(self, name: GraphName) -> Session:
        """Open the plan of a graph if one fits; otherwise open the graph file, if the backend can run it.

        Args:
            name: The graph's name, "plain" or "prompted".

        Returns:
            The open graph.

        Raises:
            EngineError: The engine has no such graph, no parity record of it, or no plan that the backend needs.
            BackendError: The library is missing or cannot open it.
            ParityError: The plan differs from torch on this machine by more than its precision allows.
        """
        graph = graph_files(self._folder, self._spec, name, self._precision)
        if self._backend not in AUTO:
            check_name(self._backend)
            return open_plan(self._folder, graph, self._backend, self._threads)
        rests = self._recorded(graph)
        planned = planned_backends(self._folder, graph)
        choose_backend(self._backend, [*rests, *planned], self._precision)
        if self._backend in planned:
            try:
                return open_plan(self._folder, graph, self._backend, self._threads)
            except (BackendError, EngineError) as error:
                if self._backend not in rests:
                    raise
                log.warning("%s: until then the graph itself is opened, which takes longer", error)
        return open_session(graph.path, self._backend, self._precision, self._threads, rests[self._backend])

    def _recorded(self, graph: GraphFiles) -> dict[str, str]:
        """Return the backends that may run a graph file → the precision that Parity.rest gives."""
        parity = self._spec.graph(graph.name).variant(graph.precision).parity
        return {record.backend: record.rest for record in parity}
