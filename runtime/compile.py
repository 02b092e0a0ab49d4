"""Making a plan on the machine that will run it: build, load, compare, and only then keep."""

from __future__ import annotations

import hashlib
import importlib
import logging
import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from . import parity
from .backends import TENSORRT, Session
from .engine import Engine, EngineSpec, File, Parity, Precision, Variant, verify_files
from .errors import BackendError, EngineError, FileError, ParityError, SettingsError
from .files import read_bytes, write_atomic
from .plans import Gpu, Hardware, Plan, find_plan, plan_name, slug, tensorrt, writable_folder, write_plan
from .scoring import Features

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
    folder: Path, precision: Precision, settings: BuildSettings, *, compare: bool = True, replace: bool = False
) -> tuple[Plan, bool]:
    """Make the plan of an engine's graph for this GPU, unless one that fits is there and `replace` is not set.

    compare: hold it to the precision's tolerance against the fp32 graph on another library. Returns the record and
    whether it was built. Raises ParityError where the tolerance is exceeded; nothing is kept then.
    """
    spec = verify_files(folder)
    variant = own_variant(folder, spec, precision)
    library = tensorrt()
    gpu: Gpu = library.current_gpu()
    if not replace:
        try:
            return find_plan(folder, spec, precision, gpu, library.VERSION)[0], False
        except EngineError:
            pass  # there is none that fits, or it is damaged
    expected = reference(folder) if compare else None
    data = _build(folder, variant.graph, spec.graph_id(precision), precision, settings, gpu, library.VERSION)
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
    if expected is not None:
        name, features = expected
        record = _compare(session, variant, precision, spec.encoder.image_size, name, features)
        plan = msgspec.structs.replace(plan, parity=record, compared_with=name)
    write_plan(folder, plan, data)
    return plan, True


def own_variant(folder: Path, spec: EngineSpec, precision: Precision) -> Variant:
    """The variant of a precision, if its graph has that precision's types: TensorRT takes types from the graph."""
    variant = spec.variants.get(precision)
    if variant is None:
        raise EngineError(f"{folder} has no {precision} graph: it has {', '.join(sorted(spec.variants))}")
    if precision != "fp32" and "fp32" in spec.variants and variant.graph == spec.variants["fp32"].graph:
        raise EngineError(
            f"{folder} has no {precision} graph of its own: TensorRT would run its fp32 graph in fp32; "
            "build with --precision fp32"
        )
    return variant


def reference(folder: Path) -> tuple[str, Features]:
    """What the engine's fp32 graph gives on another library, and its name; asked for before the long build."""
    try:
        engine = Engine.open(folder)
    except BackendError as error:
        raise BackendError(f"nothing to compare the plan with: {error}; or build with --no-parity") from error
    return engine.backend, engine.encode(parity.parity_images(engine.encoder.image_size))


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


def _compare(
    session: Session, variant: Variant, precision: Precision, size: int, name: str, expected: Features
) -> Parity:
    """The plan's parity record, within the tolerances of the engine's own records for this precision."""
    if not variant.parity:
        raise EngineError(f"{precision} has no parity record to hold a plan to: export again, or use --no-parity")
    allowed = variant.parity[0]
    feature, score = parity.apart(session, parity.parity_images(size), expected)
    if not (feature <= allowed.feature_tolerance and score <= allowed.score_tolerance):  # a NaN fails
        raise ParityError(
            f"the {precision} plan differs from {name} by {feature:.1e} on features (at most "
            f"{allowed.feature_tolerance:.0e}) and {score:.1e} on scores (at most {allowed.score_tolerance:.0e}): "
            "it was not kept; use another precision or backend"
        )
    return Parity(
        backend=TENSORRT,
        ran=session.description,
        images=parity.IMAGES,
        feature_difference=feature,
        feature_tolerance=allowed.feature_tolerance,
        score_difference=score,
        score_tolerance=allowed.score_tolerance,
    )


def trtexec(folder: Path, spec: EngineSpec, settings: BuildSettings) -> list[str]:
    """The command lines that make the same plans with NVIDIA's trtexec, one for every graph, to try and profile.

    Plans made this way have no record and are not opened by goodparts.
    """
    size = spec.encoder.image_size
    shapes = {"min": 1, "opt": settings.opt_batch, "max": settings.max_batch}
    lines = []
    for precision in spec.variants:
        try:
            variant = own_variant(folder, spec, precision)
        except EngineError:
            continue
        words = [
            "trtexec",
            f"--onnx={folder / variant.graph}",
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
