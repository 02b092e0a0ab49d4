"""Making a plan on the machine that will run it: build, load, compare, and only then keep."""

from __future__ import annotations

import hashlib
import importlib
import logging
import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .backends import TENSORRT, Session
from .engine import EngineSpec, File, Precision, verify_files
from .errors import EngineError, FileError, ParityError, SettingsError
from .files import read_bytes, write_atomic
from .parity import REFERENCE_NAME, Reference
from .plans import Gpu, Hardware, Plan, find_plan, plan_name, slug, tensorrt, writable_folder, write_plan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildSettings:
    """How to build.

    max_batch: the most views in one run; opt_batch: the batch size to be fastest at; hardware, later_versions: see
    plans.Plan; level: TensorRT's optimisation level, 0 to 5; workspace: bound on scratch memory in MiB.
    """

    max_batch: int = 8
    opt_batch: int = 1
    hardware: Hardware = "same"
    later_versions: bool = False
    level: int = 3
    workspace: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.opt_batch <= self.max_batch:
            raise SettingsError(f"--opt-batch {self.opt_batch} is outside 1 to --max-batch {self.max_batch}")
        if self.workspace is not None and self.workspace < 1:
            raise SettingsError(f"--workspace {self.workspace}: at least 1 MiB is needed")


def compile_plan(
    folder: Path, precision: Precision, settings: BuildSettings, *, replace: bool = False
) -> tuple[Plan, bool]:
    """Make the plan of an engine's graph for this GPU, unless one that fits is there and `replace` is not set.

    Returns its record and whether it was built. Raises ParityError where it differs from torch's features, which
    came with the engine, by more than its precision allows; nothing is kept then.
    """
    spec = verify_files(folder)
    graph = spec.variant(precision).graph
    reference = Reference.open(folder / REFERENCE_NAME)
    library = tensorrt()
    gpu: Gpu = library.current_gpu()
    if not replace:
        try:
            return find_plan(folder, spec, precision, gpu, library.VERSION)[0], False
        except EngineError:
            pass  # there is none that fits, or it is damaged
    data = _build(folder, graph, spec.graph_id(precision), precision, settings, gpu, library.VERSION)
    plan = Plan(
        graph=spec.graph_id(precision),
        precision=precision,
        gpu=gpu.name,
        capability=gpu.capability,
        tensorrt=library.VERSION,
        max_batch=settings.max_batch,
        hardware=settings.hardware,
        later_versions=settings.later_versions,
        file=File(
            plan_name(precision, spec.graph_id(precision), gpu, library.VERSION),
            len(data),
            hashlib.sha256(data).hexdigest(),
        ),
    )
    session: Session = library.TensorRtSession(plan, data)
    try:
        plan = msgspec.structs.replace(plan, parity=reference.measure(session, TENSORRT, precision))
    except ParityError as error:
        raise ParityError(f"{error}: the plan was not kept; use another precision or backend") from error
    write_plan(folder, plan, data)
    return plan, True


def _build(
    folder: Path, graph: str, identity: str, precision: Precision, settings: BuildSettings, gpu: Gpu, version: str
) -> bytes:
    builder = importlib.import_module(".backends.tensorrt_build", __package__)
    kept = writable_folder(folder, identity) / f"timings-{slug(gpu, version)}.cache"
    log.info("building %s for %s with TensorRT %s; this may take many minutes", precision, gpu, version)
    progress = builder.Progress(f"building {precision}")
    timings = read_bytes(kept) if kept.is_file() else b""
    data: bytes
    data, timings = builder.build(folder / graph, settings, timings, progress)
    try:
        write_atomic(kept, timings)
    except FileError as error:  # the plan is what was asked for
        log.info("the kernel timings are not kept: %s", error)
    return data


def trtexec(folder: Path, spec: EngineSpec, settings: BuildSettings) -> list[str]:
    """The command lines that make the same plans with NVIDIA's trtexec, one for every graph, to try and profile.

    Plans made this way have no record and are not opened by goodparts.
    """
    size = spec.encoder.image_size
    shapes = {"min": 1, "opt": settings.opt_batch, "max": settings.max_batch}
    lines = []
    for precision in spec.precisions:
        words = [
            "trtexec",
            f"--onnx={folder / spec.variants[precision].graph}",
            f"--saveEngine={precision}.plan",
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
