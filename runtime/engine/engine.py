"""An open engine, for all products."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..backends.registry import AUTO, check_name, choose_backend, open_session
from ..backends.session import Precision, Session
from ..core.conditions import Conditions
from ..core.errors import BackendError, EngineError, SettingsError
from ..core.preprocess import Array8
from ..core.scoring import Features
from .plans import open_plan, planned_backends
from .spec import EngineSpec, read_spec, verify_files

log = logging.getLogger(__name__)


class Engine:
    """An open engine: uint8 views in, features out. Knows nothing of products.

    Its prompted graph is opened by the first who needs it.
    """

    def __init__(
        self,
        spec: EngineSpec,
        precision: Precision,
        session: Session,
        threads: int | None = None,
        open_prompted: Callable[[], Session] | None = None,
    ) -> None:
        """open_prompted: opens the prompted graph; None where only the plain one is used."""
        self.spec = spec
        self.encoder = spec.encoder
        self.precision = precision
        self.graph_id = spec.graph_id(precision)
        self.session = session
        self.threads = threads
        self.open_prompted = open_prompted or self._lacks_prompted
        self._prompted: Session | None = None
        self._opening = threading.Lock()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        backend: str = "auto",
        precision: Precision = "fp32",
        threads: int | None = None,
        verify: bool = False,
    ) -> Engine:
        """Open an engine folder.

        backend: one of backends.BACKENDS, or "auto": the first of backends.AUTO that is installed and supports the
        precision. Those of AUTO run the graph, or the plan of it that `goodparts build` made for them; the others run
        plans alone. threads: bound on those of the inference library and of what runs beside it; None for no bound.
        verify: check the digest of every file, a third of a second for half a gigabyte.

        Raises EngineError for a damaged folder or an unsupported pair, BackendError for a missing library.
        """
        folder = Path(folder)
        if threads is not None and threads < 1:
            raise SettingsError(f"threads {threads}: at least 1 is needed")
        spec = verify_files(folder) if verify else read_spec(folder)
        backend, session = _open_session(folder, spec, backend, precision, threads)

        def open_prompted() -> Session:
            return _open_session(folder, spec.of_prompted(), backend, precision, threads)[1]

        return cls(spec, precision, session, threads, open_prompted)

    def _lacks_prompted(self) -> Session:
        raise EngineError("this engine was opened without its prompted graph: open it with Engine.open")

    @property
    def backend(self) -> str:
        """What really runs: library, device and precision, as the library reports them."""
        return self.session.description

    def graph_id_for(self, conditions: Conditions | None) -> str:
        """Of the graph that reads these, `graph_id` for None; EngineError where there is none that does."""
        if conditions is None:
            return self.graph_id
        prompted = self.spec.of_prompted()
        assert prompted.prompted  # or there would be none
        wanted, seen = prompted.prompted.conditions, conditions.shapes
        for name in sorted({*wanted, *seen}):
            if wanted.get(name) != seen.get(name):
                raise EngineError(
                    f"condition {name} has shape {list(seen.get(name, ()))}, this engine's prompted graph reads "
                    f"{list(wanted.get(name, ()))}: use the engine that the recipe was made with"
                )
        return prompted.graph_id(self.precision)

    def graph_for(self, conditions: Conditions | None) -> Session:
        """The open graph that reads these; the prompted one is opened now if it is not yet."""
        if conditions is None:
            return self.session
        with self._opening:
            if self._prompted is None:
                self._prompted = self.open_prompted()
            return self._prompted

    def encode(self, views: Array8, conditions: Conditions | None = None) -> Features:
        """Views uint8 RGB [B,S,S,3] → Features; by the prompted graph where there are conditions."""
        size = self.encoder.image_size
        if views.dtype != np.uint8 or views.ndim != 4 or views.shape[1:] != (size, size, 3):
            raise EngineError(
                f"views are {views.dtype} {list(views.shape)}: this encoder reads uint8 [B,{size},{size},3]"
            )
        outputs = self.graph_for(conditions).run(views, conditions)
        return Features(outputs[0], outputs[1], tuple(outputs[2:]), self.encoder.grid)


def _open_session(
    folder: Path, spec: EngineSpec, backend: str, precision: Precision, threads: int | None
) -> tuple[str, Session]:
    """The backend that was chosen and the graph open in it."""
    variant = spec.variant(precision)
    if backend not in ("auto", *AUTO):
        check_name(backend)
        return backend, open_plan(folder, spec, backend, precision, threads)
    recorded = {record.backend: record for record in variant.parity}
    planned = planned_backends(folder, spec, precision)
    backend = choose_backend(backend, [*recorded, *planned], precision)
    if backend in planned:
        try:
            return backend, open_plan(folder, spec, backend, precision, threads)
        except (BackendError, EngineError) as error:
            if backend not in recorded:
                raise
            log.warning("%s: until then the graph itself is opened, which takes longer", error)
    return backend, open_session(folder / variant.graph, backend, precision, threads, recorded[backend].rest)
