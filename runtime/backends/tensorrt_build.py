"""Builds a TensorRT plan of a graph. This takes minutes, because the library tries many kernels; progress is shown."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, EngineError, FileError
from ..core.files import read_bytes, write_atomic
from .library import BuildSettings, GraphFiles, Hardware
from .tensorrt_api import TensorRtApi
from .tensors import IMAGE

log = logging.getLogger(__name__)

_LEVELS: dict[Hardware, str] = {
    "same-capability": "SAME_COMPUTE_CAPABILITY",  # 10.3 does not have it
    "ampere-plus": "AMPERE_PLUS",
}


def build_with_timings(api: TensorRtApi, graph: GraphFiles, settings: BuildSettings, timings_file: Path) -> bytes:
    """Build the plan of a graph with the kernel timings of earlier builds, and write the new timings to their file.

    Args:
        api: The library that builds.
        graph: The files of the graph to build the plan of.
        settings: How to build.
        timings_file: The file with the timings, which need not exist yet.

    Returns:
        The plan's bytes.
    """
    log.info("this may take many minutes")
    timings = read_bytes(timings_file) if timings_file.is_file() else b""
    data, timings = build(api, graph.path, settings, Progress(f"building {graph.precision}"), timings)
    try:
        write_atomic(timings_file, timings)
    except FileError as error:  # the plan is still good without them
        log.info("the kernel timings are not kept: %s", error)
    return data


def build(
    api: TensorRtApi, graph: Path, settings: BuildSettings, progress: Progress, timings: bytes | None = None
) -> tuple[bytes, bytes]:
    """Build the plan of an ONNX graph as a strongly typed network, so that the types are those of the graph.

    Args:
        api: The library that builds.
        graph: The ONNX file.
        settings: How to build.
        progress: Shows the progress of the build, and may end it.
        timings: The kernel timings of an earlier build with the same library for the same GPU, or b""; None for a
            library that keeps no timings.

    Returns:
        The plan's bytes, and the timings for the next build.

    Raises:
        EngineError: The library cannot parse the graph.
        BackendError: The library cannot build.
    """
    trt, logger = api.trt, api.Logger()
    builder = api.create(trt.Builder, logger, logger=logger, failed="does not start")
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = api.create(builder.create_network, flags, logger=logger, failed="makes no network")
    parser = api.create(trt.OnnxParser, network, logger, logger=logger, failed="has no ONNX parser")
    if not parser.parse_from_file(str(graph)):
        raise EngineError(f"{api} cannot read {graph}: {_parse_errors(parser)}: use another backend")
    config = api.create(builder.create_builder_config, logger=logger, failed="makes no configuration")
    _configure(api, config, settings)
    config.progress_monitor = _monitor(trt, progress)
    cache = None if timings is None else _attach_timings(api, config, timings, logger)
    shape = tuple(network.get_input(0).shape)[1:]
    profile = api.create(builder.create_optimization_profile, logger=logger, failed="makes no profile")
    profile.set_shape(IMAGE, *((batch, *shape) for batch in (1, settings.opt_batch, settings.max_batch)))
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(f"{api.title} refuses batches of 1 to {settings.max_batch}: {logger.reason}")
    try:
        plan = api.create(
            builder.build_serialized_network, network, config, logger=logger, failed="cannot build the plan"
        )
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
    return bytes(plan), b"" if cache is None else bytes(cache.serialize())


def _parse_errors(parser: Any) -> str:
    """Return the parser's first error and the number of further errors, in one line."""
    count = parser.num_errors
    if not count:
        return "its parser gave no reason"
    error = parser.get_error(0)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{' '.join(error.desc().split())} at {error.node_operator()} {error.node_name()!r}{more}"


def _configure(api: TensorRtApi, config: Any, settings: BuildSettings) -> None:
    trt = api.trt
    config.builder_optimization_level = settings.level
    config.clear_flag(trt.BuilderFlag.TF32)  # with this default, fp32 would silently have a mantissa of 10 bits
    if log.isEnabledFor(logging.DEBUG):  # then the log lists the kernels
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if settings.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace << 20)
    if settings.later_versions:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if settings.hardware != "same":
        levels = trt.HardwareCompatibilityLevel.__members__
        name = _LEVELS[settings.hardware]
        if name not in levels:
            have = ", ".join(["same", *(choice for choice, level in _LEVELS.items() if level in levels)])
            raise BackendError(f"{api} has no --hardware {settings.hardware}: choose from {have}")
        config.hardware_compatibility_level = levels[name]
    if settings.capability is not None:
        _target(api, config, settings.capability)


def _target(api: TensorRtApi, config: Any, capability: tuple[int, int]) -> None:
    """Build for a compute capability. Raise BackendError if the library does not support it."""
    known = api.trt.ComputeCapability.__members__
    name = f"SM{capability[0]}{capability[1]}"
    if name not in known:
        have = ", ".join(f"{member[2:-1]}.{member[-1]}" for member in known if member.startswith("SM"))
        wanted = ".".join(map(str, capability))
        raise BackendError(f"{api} does not build for compute capability {wanted}: choose from {have}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[name], 0)


def _attach_timings(api: TensorRtApi, config: Any, timings: bytes, logger: Any) -> Any:
    """Give the builder the timings of earlier builds, or empty timings if it refuses them."""
    for data in (timings, b""):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    raise BackendError(f"{api} makes no timing cache: {logger.reason}")


def _monitor(trt: Any, progress: Progress) -> Any:
    """Return the object through which the library reports its progress, from threads of its own."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            progress.note(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.note(phase_name, step + 1)
            return progress.stopped is None

        def phase_finish(self, phase_name: str) -> None:
            progress.note(phase_name, None)

    return Monitor()


class Progress:
    """The display of a build's progress: the library's phases, each with its share in per cent, and the seconds so far.

    The library calls it through C++, which exceptions must not cross. So an exception that ends the build is kept in
    `stopped`.

    Args:
        title: The beginning of the line.
        clock: Returns the time, in seconds.
    """

    INTERVAL = 0.5, 10.0
    """Seconds between two lines: on a terminal, where each line replaces the last one, and in a log."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.stopped: BaseException | None = None
        self._title = title
        self._clock = clock
        self._began = clock()
        self._shown = float("-inf")
        self._phases: dict[str, tuple[int, int]] = {}  # name → steps done, steps
        self._lock = threading.Lock()
        self._terminal = sys.stderr.isatty()

    def close(self) -> None:
        """End the line on a terminal."""
        if self._terminal and self._shown > 0:
            print(file=sys.stderr)

    def note(self, phase: str, done: int | None, steps: int | None = None) -> None:
        """Record how many steps of a phase are done, and show it if enough time has passed.

        Args:
            phase: The library's name of the phase.
            done: The number of steps that are done; None means that the phase is finished.
            steps: The number of steps of the phase; None keeps the number from the phase's start.
        """
        try:
            with self._lock:
                if done is None:
                    self._phases.pop(phase, None)
                else:
                    self._phases[phase] = (done, steps or self._phases.get(phase, (0, 1))[1])
                self._show()
        except (KeyboardInterrupt, SystemExit) as error:  # raised here if the callback runs in the main thread
            self.stopped = error
        except OSError:  # stderr is closed, but the build goes on
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
