"""A process of its own, started by `bench start`: opens an engine and a recipe, inspects one frame, and prints the
seconds of each step as a line of JSON.

It imports what a line's program would, and nothing slow before the clock runs.
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
    """Open, inspect and print; the argument is JSON.

    engine, recipe: paths; backend; precision; tower: a file with the encoder as torch pickles it, which then stands in
    the graph's place, or null.
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
