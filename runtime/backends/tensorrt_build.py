"""Building a TensorRT plan of a graph, which takes minutes of trying kernels; the progress is shown."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import tensorrt as trt

from ..core.errors import BackendError, EngineError, FileError
from ..core.files import read_bytes, write_atomic
from .library import BuildSettings, GraphFiles, Hardware
from .tensorrt_calls import VERSION, Logger, create
from .tensors import IMAGE

log = logging.getLogger(__name__)

_LEVELS: dict[Hardware, str] = {
    "same": "NONE",
    "same-capability": "SAME_COMPUTE_CAPABILITY",  # 10.3 does not have it
    "ampere-plus": "AMPERE_PLUS",
}


def build_with_timings(graph: GraphFiles, settings: BuildSettings, timings_file: Path) -> bytes:
    """Build the plan of a graph with the kernel timings of earlier builds, and write the timings to their file."""
    log.info("this may take many minutes")
    timings = read_bytes(timings_file) if timings_file.is_file() else b""
    progress = Progress(f"building {graph.precision}")
    data, timings = build(graph.path, settings, timings, progress)
    try:
        write_atomic(timings_file, timings)
    except FileError as error:  # the plan is what was asked for
        log.info("the kernel timings are not kept: %s", error)
    return data


def build(graph: Path, settings: BuildSettings, timings: bytes, progress: Progress) -> tuple[bytes, bytes]:
    """Build the plan of an ONNX graph as a strongly typed network, so that the types are the graph's own.

    timings: the kernel timings of an earlier build on the same GPU and version, or b"". Returns the plan and the
    timings for the next build. Raises EngineError for a graph that TensorRT cannot parse, BackendError where it cannot
    build.
    """
    logger = Logger()
    builder = create(trt.Builder, logger, logger=logger, failed="does not start")
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = create(builder.create_network, flags, logger=logger, failed="makes no network")
    parser = create(trt.OnnxParser, network, logger, logger=logger, failed="has no ONNX parser")
    if not parser.parse_from_file(str(graph)):
        raise EngineError(f"TensorRT {VERSION} cannot read {graph}: {_parse_errors(parser)}: use another backend")
    config = create(builder.create_builder_config, logger=logger, failed="makes no configuration")
    _configure(config, settings, progress)
    cache = _attach_timings(config, timings, logger)
    shape = tuple(network.get_input(0).shape)[1:]
    profile = create(builder.create_optimization_profile, logger=logger, failed="makes no profile")
    profile.set_shape(IMAGE, *((batch, *shape) for batch in (1, settings.opt_batch, settings.max_batch)))
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(f"TensorRT refuses batches of 1 to {settings.max_batch}: {logger.reason}")
    try:
        plan = create(builder.build_serialized_network, network, config, logger=logger, failed="cannot build the plan")
    except BackendError as error:
        if progress.stopped is not None:
            raise progress.stopped from error
        if "memory" in str(error).lower():
            raise BackendError(f"{error}; a smaller --max-batch or --workspace needs less memory") from error
        raise
    finally:
        progress.close()
    if progress.stopped is not None:
        raise progress.stopped
    return bytes(plan), bytes(cache.serialize())


def _parse_errors(parser: trt.OnnxParser) -> str:
    """Return the parser's first error and the number of the others, in one line."""
    count = parser.num_errors
    if not count:
        return "its parser gave no reason"
    error = parser.get_error(0)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{' '.join(error.desc().split())} at {error.node_operator()} {error.node_name()!r}{more}"


def _configure(config: trt.IBuilderConfig, settings: BuildSettings, progress: Progress) -> None:
    config.progress_monitor = progress
    config.builder_optimization_level = settings.level
    config.clear_flag(trt.BuilderFlag.TF32)  # on unless cleared; fp32 would quietly be 10 bits of mantissa
    if settings.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace << 20)
    if settings.later_versions:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    levels = trt.HardwareCompatibilityLevel.__members__
    name = _LEVELS[settings.hardware]
    if name not in levels:
        have = ", ".join(choice for choice, level in _LEVELS.items() if level in levels)
        raise BackendError(f"TensorRT {VERSION} has no --hardware {settings.hardware}: choose from {have}")
    config.hardware_compatibility_level = levels[name]


def _attach_timings(config: trt.IBuilderConfig, timings: bytes, logger: Logger) -> trt.ITimingCache:
    """Give the timings of earlier builds to the builder, or none where it refuses them."""
    for data in (timings, b""):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    raise BackendError(f"TensorRT {VERSION} makes no timing cache: {logger.reason}")


class Progress(trt.IProgressMonitor):
    """Shows how far a build is: TensorRT's phases, each with its share in per cent, and the seconds so far.

    TensorRT calls it from threads of its own, through C++ that no exception may cross.
    """

    INTERVAL = 0.5, 10.0
    """Seconds between two lines: on a terminal, where each replaces the last, and in a log."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        trt.IProgressMonitor.__init__(self)
        self.stopped: BaseException | None = None
        self._title = title
        self._clock = clock
        self._began = clock()
        self._shown = float("-inf")
        self._phases: dict[str, tuple[int, int]] = {}  # name → steps done, steps
        self._lock = threading.Lock()
        self._terminal = sys.stderr.isatty()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
        self._note(phase_name, 0, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """False, which ends the build, once the user has pressed Ctrl-C or the process was told to end."""
        self._note(phase_name, step + 1)
        return self.stopped is None

    def phase_finish(self, phase_name: str) -> None:
        self._note(phase_name, None)

    def close(self) -> None:
        """End the line on a terminal."""
        if self._terminal and self._shown > 0:
            print(file=sys.stderr)

    def _note(self, phase: str, done: int | None, steps: int | None = None) -> None:
        """Note how many steps of a phase are done, None for all, and show it when it is time to."""
        try:
            with self._lock:
                if done is None:
                    self._phases.pop(phase, None)
                else:
                    self._phases[phase] = (done, steps or self._phases.get(phase, (0, 1))[1])
                self._show()
        except (KeyboardInterrupt, SystemExit) as error:  # come here where the callback runs in the main thread
            self.stopped = error
        except OSError:  # stderr is gone; the build is not
            pass

    def _show(self) -> None:
        now = self._clock()
        if not self._phases or now - self._shown < self.INTERVAL[0 if self._terminal else 1]:
            return
        self._shown = now
        phases = " › ".join(f"{name} {100 * done // steps} %" for name, (done, steps) in self._phases.items())
        text = f"{self._title}: {phases} ({now - self._began:.0f} s)"
        if self._terminal:
            print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
