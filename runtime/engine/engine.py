"""An open engine, which all products share."""

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
    """An open engine: it turns views into features. It contains nothing of a product.

    Args:
        spec: The content of its engine.json.
        precision: The precision of its graphs.
        graphs: The open graphs by name. Some may be opened only at their first use (graphs.LazyGraphs).
        threads: The most threads of the work outside the inference library; None means no bound.
        folder: The engine's folder; None for an engine that was made of open graphs.
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
        """Open an engine folder and its plain graph.

        The backends of registry.AUTO run the graph file, or the plan that `goodparts build` made of it. The other
        backends run only plans.

        Args:
            folder: The engine's folder, by default the engine that ships with goodparts.
            backend: A name in registry.BACKENDS, or "auto": the first of registry.AUTO that is installed and supports
                the precision. With the engine that ships with goodparts, "auto" is the fastest of them on this machine
                (fastest.py).
            precision: The precision of the graphs to open.
            threads: The most threads of the inference library, and of the work outside it, 1 or more; None means no
                bound.
            verify: Whether to check the SHA-256 of every file, which takes a third of a second for half a gigabyte.

        Returns:
            The open engine.

        Raises:
            EngineError: The folder is damaged, or has no graph of the precision or no parity record of the backend.
            BackendError: The library is missing or cannot open the graph.
            ParityError: The graph or the plan differs from torch on this machine by more than its precision allows.
            SettingsError: `threads` is below 1.
        """
        folder = Path(folder)
        if threads is not None and threads < 1:
            raise SettingsError(f"threads {threads}: at least 1 is needed")
        spec = verify_files(folder) if verify else read_spec(folder)
        threads = bound_threads(threads)
        graphs = EngineGraphs(folder, spec, backend, precision, threads)
        graphs["plain"]  # opened now, so that a fault is found now and not at the first frame
        return cls(spec, precision, graphs, threads, folder)

    def __reduce__(self) -> NoReturn:
        raise EngineError("an open engine cannot be pickled or copied to another process: open one per process")

    @property
    def backend(self) -> str:
        """What runs: library, device and precision, as the library reports them."""
        return self.graphs["plain"].description

    def read_text_features(self) -> TextFeatures:
        """Return the engine's text features.

        Raises:
            EngineError: The engine has none, they are damaged, or the engine has no folder.
        """
        if self.folder is None:
            raise EngineError("this engine was made of open graphs and has no text features: open the engine's folder")
        return read_text_features(self.folder, self.spec)

    def graph_id(self, conditions: Conditions | None = None) -> str:
        """Return the id of the graph that reads these conditions; without conditions, the plain graph's.

        Args:
            conditions: A product's conditions; None for the plain graph.

        Raises:
            EngineError: No graph reads these conditions.
        """
        return self.spec.graph_id(self.spec.graph_for(conditions), self.precision)

    def session_for(self, conditions: Conditions | None) -> Session:
        """Return the open graph that reads these conditions.

        Args:
            conditions: A product's conditions; None for the plain graph.

        Raises:
            EngineError: No graph reads these conditions.
        """
        return self.graphs[self.spec.graph_for(conditions)]

    def encode(self, views: Array8, conditions: Conditions | None = None) -> Features:
        """Encode views, with the prompted graph if there are conditions.

        Args:
            views: The views, [count, size, size, 3], uint8, RGB.
            conditions: A product's conditions; None for the plain graph.

        Returns:
            The features of the views.

        Raises:
            EngineError: The views have another type or shape, or no graph reads the conditions.
            BackendError: The library fails.
        """
        size = self.encoder.image_size
        if views.dtype != np.uint8 or views.ndim != 4 or views.shape[1:] != (size, size, 3):
            raise EngineError(
                f"views are {views.dtype} {list(views.shape)}: this encoder reads uint8 [B,{size},{size},3]"
            )
        return to_features(self.session_for(conditions).run(views, conditions), self.encoder.grid)
