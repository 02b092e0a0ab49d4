"""An open engine, for all products."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np

from ..backends.session import GraphName, Precision, Session
from ..backends.tensors import to_features
from ..core.conditions import Conditions
from ..core.errors import EngineError, SettingsError
from ..core.preprocess import Array8
from ..core.scoring import Features
from ..core.threads import bound_threads
from .graphs import EngineGraphs
from .shipped import SHIPPED
from .spec import EngineSpec, read_spec, verify_files
from .text import TextFeatures, read_text_features


class Engine:
    """An open engine: uint8 views in, features out. It knows nothing of products.

    graphs: the open graphs by name, of which some may be opened when they are first asked for (graphs.LazyGraphs);
    threads: bound on the threads of what runs beside the inference library, None for no bound; folder: where the
    engine's files are, None for one that was put together of open graphs.
    """

    def __init__(
        self,
        spec: EngineSpec,
        precision: Precision,
        graphs: dict[GraphName, Session],
        threads: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.spec = spec
        self.encoder = spec.encoder
        self.precision = precision
        self.graphs = graphs
        self.threads = threads
        self.folder = folder

    @classmethod
    def open(
        cls,
        folder: str | Path = SHIPPED,
        *,
        backend: str = "auto",
        precision: Precision = "fp32",
        threads: int | None = None,
        verify: bool = False,
    ) -> Engine:
        """Open an engine folder, by default that of the engine that ships with goodparts, and its plain graph.

        backend: one of registry.BACKENDS, or "auto": the first of registry.AUTO that is installed and supports the
        precision, or with the shipped engine the fastest of them on this machine (fastest.py). Those of AUTO run the
        graph, or the plan of it that `goodparts build` made for them; the others run plans only. threads: bound on
        those of the inference library and of what runs beside it, any number from 1 on; None for no bound.
        verify: check the digest of every file, which takes a third of a second for half a gigabyte.

        Raises EngineError for a damaged folder or an unsupported pair, BackendError for a missing library,
        SettingsError for an impossible number of threads.
        """
        folder = Path(folder)
        if threads is not None and threads < 1:
            raise SettingsError(f"threads {threads}: at least 1 is needed")
        spec = verify_files(folder) if verify else read_spec(folder)
        threads = bound_threads(threads)
        graphs = EngineGraphs(folder, spec, backend, precision, threads)
        graphs["plain"]  # what can fail fails now
        return cls(spec, precision, graphs, threads, folder)

    def __reduce__(self) -> NoReturn:
        raise EngineError("an open engine cannot be pickled or copied to another process: open one per process")

    @property
    def backend(self) -> str:
        """What really runs: library, device and precision, as the library reports them."""
        return self.graphs["plain"].description

    def read_text_features(self) -> TextFeatures:
        """Return the engine's text features; EngineError where it has none, or they are damaged."""
        if self.folder is None:
            raise EngineError("the engine was put together of open graphs and has no text features: open its folder")
        return read_text_features(self.folder, self.spec)

    def graph_id(self, conditions: Conditions | None = None) -> str:
        """Return the id of the graph that reads these conditions; without conditions, the plain graph's.

        Raises EngineError where no graph reads them.
        """
        return self.spec.graph_id(self.spec.graph_for(conditions), self.precision)

    def session_for(self, conditions: Conditions | None) -> Session:
        """Return the open graph that reads these conditions; EngineError where none does."""
        return self.graphs[self.spec.graph_for(conditions)]

    def encode(self, views: Array8, conditions: Conditions | None = None) -> Features:
        """Encode views uint8 RGB [B,S,S,3], with the prompted graph where there are conditions.

        Raises EngineError for other views, or conditions that no graph reads; BackendError where the library fails.
        """
        size = self.encoder.image_size
        if views.dtype != np.uint8 or views.ndim != 4 or views.shape[1:] != (size, size, 3):
            raise EngineError(
                f"views are {views.dtype} {list(views.shape)}: this encoder reads uint8 [B,{size},{size},3]"
            )
        return to_features(self.session_for(conditions).run(views, conditions), self.encoder.grid)
