"""The process that `bench start` starts: it opens an engine and a recipe, inspects one frame, and prints the seconds of
each step as a line of JSON.

It imports only the modules that the program of a line imports. Slow imports are timed.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goodparts.runtime import Engine

STEPS = ("imports", "opening the engine", "opening the recipe", "first frame")


def main() -> None:
    """Open an engine and a recipe, inspect a grey frame, and print the seconds of STEPS as JSON.

    The argument is JSON with these fields: engine and recipe, which are paths; backend; precision; tower, a file with
    the encoder pickled by torch, which then replaces the graph, or null.
    """
    settings = json.loads(sys.argv[1])
    clock = [time.perf_counter()]
    import numpy as np
    from goodparts.runtime import Detector

    if settings["tower"]:
        import torch  # noqa: F401
    clock.append(time.perf_counter())
    engine = open_engine(**settings)
    clock.append(time.perf_counter())
    detector = Detector(engine, settings["recipe"])
    clock.append(time.perf_counter())
    detector.predict(np.full((1024, 1280, 3), 128, np.uint8))
    clock.append(time.perf_counter())
    spans = [stop - start for start, stop in itertools.pairwise(clock)]
    print(json.dumps(dict(zip(STEPS, spans, strict=True))), flush=True)


def open_engine(*, engine: str, backend: str, precision: Any, tower: str | None, **_: str) -> Engine:
    """Open the engine, or an engine whose graph is replaced by the pickled tower.

    Args:
        engine: The engine's folder.
        backend: The backend's name, which is not used with a tower.
        precision: The precision of the graph; a tower is always fp32.
        tower: A file with the encoder pickled by torch; None for the engine's own graph.

    Returns:
        The open engine.

    Raises:
        EngineError: The folder is damaged, or has no graph of the precision or no parity record of the backend.
        BackendError: The library is missing or cannot open the graph.
        ParityError: The graph or the plan differs from torch on this machine by more than its precision allows.
    """
    from goodparts.runtime import Engine
    from goodparts.runtime.engine.spec import read_spec

    folder = Path(engine)
    if tower is not None:
        import torch

        from ..peers.torch_encoder import TorchSession

        return Engine(read_spec(folder), "fp32", {"plain": TorchSession(torch.load(tower, weights_only=False), "fp32")})
    return Engine.open(folder, backend=backend, precision=precision)


if __name__ == "__main__":
    main()
