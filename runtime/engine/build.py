"""Builds a plan on the machine that will run it. The plan is kept only after it was loaded and compared with torch."""

from __future__ import annotations

import hashlib
import logging
import shlex
from pathlib import Path

import msgspec

from ..backends.library import BuildSettings, GraphFiles
from ..backends.registry import open_library
from ..backends.session import GraphName, Precision
from ..backends.tensors import IMAGE
from ..core.errors import EngineError, ParityError
from .parity import REFERENCE_NAMES, Reference
from .plans import Plan, check_plan, find_plan, graph_files, writable_folder, write_plan
from .spec import EngineSpec, File, verify_files

log = logging.getLogger(__name__)


def build_plan(
    folder: Path,
    precision: Precision,
    settings: BuildSettings,
    backend: str,
    *,
    replace: bool = False,
    name: GraphName = "plain",
) -> tuple[Plan, bool]:
    """Build the plan of an engine's graph for this device, unless a plan that fits exists.

    The plan's features are compared with torch's, which lie in the engine, and the CUDA kernels with the CPU. A plan
    for other GPUs (settings.capability) is checked when it first runs.

    Args:
        folder: The engine's folder.
        precision: The precision of the graph, in which the plan computes.
        settings: How to build.
        backend: The backend's name.
        replace: Whether to build even if there is a plan that fits.
        name: The graph's name, "plain" or "prompted".

    Returns:
        The plan's record, and whether the plan was built now.

    Raises:
        ParityError: The plan differs from torch by more than its precision allows, or the CUDA kernels differ from the
            CPU. Nothing is kept.
        EngineError: The engine is damaged or has no such graph, or the library cannot read the graph.
        BackendError: The library is missing or cannot build.
        SettingsError: A setting that the library does not support is not at its default.
    """
    graph = graph_files(folder, verify_files(folder), name, precision)
    reference = Reference.open(folder / REFERENCE_NAMES[name])
    library = open_library(backend)
    settings.check(backend, library.settings)
    device = settings.target or library.device()
    if not replace:
        try:
            return find_plan(folder, graph, library, device)[0], False
        except EngineError:
            pass  # there is none that fits, or it is damaged
    log.info("building %s for %s with %s %s", precision, device, library.title, library.version)
    data = library.build(graph, settings, writable_folder(folder, graph.id))
    plan = Plan(
        graph=graph.id,
        precision=precision,
        backend=backend,
        device=device,
        version=library.version,
        max_batch=settings.max_batch if "max_batch" in library.settings else None,
        hardware="same-capability" if "capability" in library.settings else settings.hardware,
        later_versions=settings.later_versions,
    )
    if data is not None:
        file = File(f"{plan.name}.plan", len(data), hashlib.sha256(data).hexdigest())
        plan = msgspec.structs.replace(plan, file=file)
    if settings.target is None:
        session = library.open(graph, plan, data, None)
        try:
            plan = check_plan(plan, session, reference, device)
        except ParityError as error:
            raise ParityError(f"{error}: the plan was not kept; use another precision or backend") from error
    write_plan(folder, plan, data)
    return plan, True


def trtexec_commands(folder: Path, spec: EngineSpec, settings: BuildSettings) -> list[str]:
    """Return command lines of NVIDIA's trtexec that build the same plans, one for each graph, for trials and profiling.

    Plans that are built this way have no record, and goodparts does not open them.

    Args:
        folder: The engine's folder.
        spec: The content of its engine.json.
        settings: How to build.
    """
    graphs = [
        graph_files(folder, spec, name, precision)
        for name, graph in spec.graphs.items()
        for precision in graph.precisions
    ]
    return [_trtexec_command(graph, spec.encoder.image_size, settings) for graph in graphs]


def _trtexec_command(graph: GraphFiles, size: int, settings: BuildSettings) -> str:
    """Return the command line for one graph, whose views are of size×size pixels.

    Only the batch size of the views varies. The conditions of a prompted graph have fixed shapes.
    """
    batches = {"min": 1, "opt": settings.opt_batch, "max": settings.max_batch}
    plan = graph.precision if graph.name == "plain" else f"{graph.name}.{graph.precision}"
    words = [
        "trtexec",
        f"--onnx={graph.path}",
        f"--saveEngine={plan}.plan",
        "--stronglyTyped",
        "--noTF32",
        *(f"--{bound}Shapes={IMAGE}:{batch}x{size}x{size}x3" for bound, batch in batches.items()),
        f"--builderOptimizationLevel={settings.level}",
        "--timingCacheFile=timings.cache",
        "--useCudaGraph",
    ]
    if settings.workspace is not None:
        words.append(f"--memPoolSize=workspace:{settings.workspace}")
    if settings.later_versions:
        words.append("--versionCompatible")
    if settings.hardware != "same":
        level = {"ampere-plus": "ampere+", "same-capability": "sameComputeCapability"}[settings.hardware]
        words.append(f"--hardwareCompatibilityLevel={level}")
    return shlex.join(words)
