"""Making a plan on the machine that will run it: build, load, compare, and only then keep."""

from __future__ import annotations

import hashlib
import logging
import shlex
from pathlib import Path

import msgspec

from ..backends.library import BuildSettings
from ..backends.session import Precision
from ..core.errors import EngineError, ParityError
from .parity import PROMPTED_REFERENCE_NAME, REFERENCE_NAME, Reference
from .plans import Plan, find_plan, graph_of, library, writable_folder, write_plan
from .spec import EngineSpec, File, verify_files

log = logging.getLogger(__name__)


def compile_plan(
    folder: Path,
    precision: Precision,
    settings: BuildSettings,
    backend: str,
    *,
    replace: bool = False,
    prompted: bool = False,
) -> tuple[Plan, bool]:
    """Make the plan of an engine's graph for this device, unless one that fits is there and `replace` is not set.

    prompted: of its prompted graph.

    Returns its record and whether it was built. Raises ParityError where it differs from torch's features, which
    came with the engine, by more than its precision allows; nothing is kept then.
    """
    spec, reference = verify_files(folder), Reference.open(folder / REFERENCE_NAME)
    if prompted:
        spec, reference = spec.of_prompted(), Reference.open(folder / PROMPTED_REFERENCE_NAME)
    graph, identity = graph_of(folder, spec, precision), spec.graph_id(precision)
    used = library(backend)
    settings.check(backend, used.settings)
    device = used.device()
    if not replace:
        try:
            return find_plan(folder, spec, used, precision)[0], False
        except EngineError:
            pass  # there is none that fits, or it is damaged
    log.info("building %s for %s with %s %s", precision, device, used.title, used.version)
    data = used.build(graph, settings, writable_folder(folder, identity))
    plan = Plan(
        graph=identity,
        precision=precision,
        backend=backend,
        device=device,
        version=used.version,
        max_batch=settings.max_batch if "max_batch" in used.settings else None,
        hardware=settings.hardware,
        later_versions=settings.later_versions,
    )
    if data is not None:
        file = File(f"{plan.name}.plan", len(data), hashlib.sha256(data).hexdigest())
        plan = msgspec.structs.replace(plan, file=file)
    session = used.open(graph, plan, data, None)
    try:
        plan = msgspec.structs.replace(plan, parity=reference.measure(session, backend, precision))
    except ParityError as error:
        raise ParityError(f"{error}: the plan was not kept; use another precision or backend") from error
    write_plan(folder, plan, data)
    return plan, True


def trtexec(folder: Path, spec: EngineSpec, settings: BuildSettings) -> list[str]:
    """The command lines that make the same plans with NVIDIA's trtexec, one for every graph, to try and profile.

    Of a prompted graph only the images' batch varies: conditions have fixed shapes.

    Plans made this way have no record and are not opened by goodparts.
    """
    size = spec.encoder.image_size
    shapes = {"min": 1, "opt": settings.opt_batch, "max": settings.max_batch}
    lines = []
    graphs: list[tuple[str, str]] = [(precision, spec.variants[precision].graph) for precision in spec.precisions]
    if spec.prompted:
        prompted = spec.of_prompted()
        graphs += [(f"prompted.{precision}", prompted.variants[precision].graph) for precision in prompted.precisions]
    for name, graph in graphs:
        words = [
            "trtexec",
            f"--onnx={folder / graph}",
            f"--saveEngine={name}.plan",
            "--stronglyTyped",
            "--noTF32",
            *(f"--{name}Shapes=image:{batch}x{size}x{size}x3" for name, batch in shapes.items()),
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
        lines.append(shlex.join(words))
    return lines
