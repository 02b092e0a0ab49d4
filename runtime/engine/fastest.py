"""The choice of the backend that runs an engine fastest on this machine. The user's cache keeps the measurement.

Only the engine that ships with goodparts needs this choice, because its parity records were measured on another
machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from ..backends.registry import BACKENDS, open_session
from ..backends.session import Precision
from ..core.errors import BackendError, FileError, ParityError
from ..core.files import cache_folder, read_bytes, write_atomic
from ..core.processor import processor_name
from .parity import REFERENCE_NAMES, Reference
from .plans import graph_files
from .spec import EngineSpec

log = logging.getLogger(__name__)

RUNS = 5
"""How often each backend runs. Its fastest run counts."""


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The measured times.

    Attributes:
        milliseconds: Backend → the time of one view, for the backends that passed the comparison with torch.

    Raises:
        ValueError: There is no backend.
    """

    milliseconds: dict[str, float]

    def __post_init__(self) -> None:
        if not self.milliseconds:
            raise ValueError("no backend was measured")

    @property
    def fastest(self) -> str:
        """The backend with the shortest time."""
        return min(self.milliseconds, key=self.milliseconds.__getitem__)


def fastest_backend(
    folder: Path, spec: EngineSpec, precision: Precision, threads: int | None, rests: Mapping[str, str]
) -> str:
    """Return the backend that runs the plain graph fastest, of those that agree with torch on this machine.

    Args:
        folder: The engine's folder.
        spec: The content of its engine.json.
        precision: The precision of the graph.
        threads: The most threads of the library; None means no bound.
        rests: The installed backends to choose from → the precision of the operations that an int8 graph does not
            quantise, "fp32" or "bf16".

    Raises:
        ParityError: No backend agrees with torch on this machine.
        BackendError: No backend can open the graph.
    """
    path = _path(spec, precision, threads, rests)
    try:
        choice = msgspec.json.decode(read_bytes(path), type=Choice)
        if choice.milliseconds.keys() <= rests.keys():
            return choice.fastest
    except (FileError, msgspec.MsgspecError):
        pass  # nothing was measured yet, or the file cannot be read
    choice = _measure(folder, spec, precision, threads, rests)
    times = ", ".join(f"{backend} {span:.1f} ms" for backend, span in choice.milliseconds.items())
    log.info("measured once on this machine, for one view in %s: %s", precision, times)
    with contextlib.suppress(OSError, FileError):  # without a cache, the next start measures again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, msgspec.json.encode(choice))
    return choice.fastest


def _path(spec: EngineSpec, precision: Precision, threads: int | None, rests: Mapping[str, str]) -> Path:
    """Return the file that keeps the choice. Its name depends on everything that the choice depends on."""
    facts = [
        spec.digest, precision, threads, os.cpu_count(), processor_name(),
        {backend: _version(BACKENDS[backend].package) for backend in sorted(rests)},
    ]  # fmt: skip
    return cache_folder() / "fastest" / f"{hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:32]}.json"


def _version(package: str) -> str:
    """Return the version of an inference library, which may be installed under the name of its GPU package."""
    for name in (package, f"{package}-gpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    return "unknown"


def _measure(
    folder: Path, spec: EngineSpec, precision: Precision, threads: int | None, rests: Mapping[str, str]
) -> Choice:
    """Compare each backend with torch's features, which lie in the engine, and measure its time."""
    graph = graph_files(folder, spec, "plain", precision)
    reference = Reference.open(folder / REFERENCE_NAMES["plain"])
    milliseconds: dict[str, float] = {}
    failure: BackendError | ParityError | None = None
    for backend, rest in rests.items():
        try:
            session = open_session(graph.path, backend, precision, threads, rest)
            reference.measure(session, backend, precision)
        except (BackendError, ParityError) as error:
            log.warning("%s is not used for this engine: %s", backend, error)
            failure = error
            continue
        spans = []
        for _ in range(RUNS):
            start = time.perf_counter()
            session.run(reference.images[:1])
            spans.append(time.perf_counter() - start)
        milliseconds[backend] = 1e3 * min(spans)
    if failure is not None and not milliseconds:
        raise failure
    return Choice(milliseconds)
