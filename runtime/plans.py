"""Compiled plans: what TensorRT makes of one graph for one GPU, each with a record of what it fits.

A plan and its record lie in `plans/` of the engine folder or, where that cannot be written, in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .engine import EngineSpec, File, Parity, Precision
from .errors import BackendError, EngineError, FileError
from .files import NO_DIGEST, cache_folder, is_sealed, read_bytes, seal, write_atomic

if TYPE_CHECKING:
    from .backends import Session

PLAN_CONTRACT = 1
_DIGEST_MARK = b'"digest": "'

Hardware = Literal["same", "same-capability", "ampere-plus"]
"""Which GPUs a plan may run on: the model it was built on, those of its compute capability, or 8.0 and later."""


@dataclass(frozen=True)
class Gpu:
    """What a plan depends on: product name and compute capability (major, minor)."""

    name: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        return "{} (compute capability {}.{})".format(self.name, *self.capability)


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record beside a plan.

    graph: EngineSpec.graph_id of what was compiled; gpu, capability, tensorrt: where it was built and with which
    version; max_batch: the most views in one run; later_versions: whether later versions of TensorRT may load it;
    parity: how far it is from torch, measured before the record is written.
    """

    contract: int = PLAN_CONTRACT
    graph: str
    precision: Precision
    gpu: str
    capability: tuple[int, int]
    tensorrt: str
    max_batch: int
    hardware: Hardware
    later_versions: bool
    file: File
    parity: Parity | None = None
    digest: str = NO_DIGEST

    def to_bytes(self) -> bytes:
        """The bytes of the record, its digest filled in (files.seal)."""
        text = msgspec.json.encode(msgspec.structs.replace(self, digest=NO_DIGEST), order="sorted")
        return seal(msgspec.json.format(text, indent=2) + b"\n", _DIGEST_MARK)

    def misfit(self, graph: str, gpu: Gpu, tensorrt: str) -> str | None:
        """Why this plan cannot be used there, or None."""
        built_on = Gpu(self.gpu, self.capability)
        if self.graph != graph:
            return "it is of another graph: the engine was exported again since"
        fits = {
            "same": built_on == gpu,
            "same-capability": self.capability == gpu.capability,
            "ampere-plus": gpu.capability >= (8, 0),
        }
        if not fits[self.hardware]:
            return f"it was built on {built_on}, this is {gpu}"
        if tensorrt != self.tensorrt and not (self.later_versions and _version(tensorrt) > _version(self.tensorrt)):
            return f"it was built with TensorRT {self.tensorrt}, this is {tensorrt}"
        return None


def open_plan(folder: Path, spec: EngineSpec, precision: Precision) -> Session:
    """Open the plan of an engine's graph that fits this GPU and TensorRT.

    Raises EngineError where there is none, or it is damaged; BackendError where TensorRT or the GPU cannot be used.
    """
    library = tensorrt()
    plan, data = find_plan(folder, spec, precision, library.current_gpu(), library.VERSION)
    session: Session = library.TensorRtSession(plan, data)
    return session


def tensorrt() -> Any:
    """The module backends.tensorrt; BackendError that names what is missing when it cannot be loaded."""
    try:
        return importlib.import_module(".backends.tensorrt", __package__)
    except ModuleNotFoundError as error:
        raise BackendError(
            f'{error.name} is not installed: pip install "goodparts[tensorrt]"; on a Jetson TensorRT comes with '
            "JetPack, seen from environments made with --system-site-packages"
        ) from error
    except ImportError as error:  # what the loader says names the library
        line = str(error).strip().splitlines()[0]
        raise BackendError(
            f"TensorRT cannot be loaded: {line}: put it on the loader's path (LD_LIBRARY_PATH)"
        ) from error


def find_plan(folder: Path, spec: EngineSpec, precision: Precision, gpu: Gpu, version: str) -> tuple[Plan, bytes]:
    """The plan that fits, and its bytes, checked: a damaged plan could take the process down with it."""
    graph = spec.graph_id(precision)
    build = f"build one with `goodparts build --engine {folder} --device tensorrt --precision {precision}`"
    reasons: list[str] = []
    for path, plan in read_plans(folder, graph):
        if isinstance(plan, EngineError):
            reasons.append(str(plan))
        elif plan.precision == precision:
            reason = plan.misfit(graph, gpu, version)
            if reason is None:
                return plan, _read(path, plan, build)
            reasons.append(f"{path.name}: {reason}")
    seen = f" ({'; '.join(reasons)})" if reasons else ""
    raise EngineError(f"{folder} has no {precision} plan for {gpu} with TensorRT {version}{seen}: {build}")


def read_plans(folder: Path, graph: str) -> Iterator[tuple[Path, Plan | EngineError]]:
    """The records of an engine's plans with their paths; for a damaged one, what is wrong with it."""
    for place in plan_folders(folder, graph):
        for path in sorted(place.glob("*.json")):
            try:
                text = read_bytes(path)
                plan = msgspec.json.decode(text, type=Plan)
                intact = plan.contract == PLAN_CONTRACT and is_sealed(text, _DIGEST_MARK, plan.digest)
                yield path, plan if intact else EngineError(f"{path.name} is damaged or of another version")
            except (msgspec.MsgspecError, FileError) as error:
                yield path, EngineError(f"{path.name} is damaged: {error}")


def _read(path: Path, plan: Plan, build: str) -> bytes:
    file = path.parent / plan.file.name
    data = read_bytes(file) if file.is_file() else None
    if data is None or len(data) != plan.file.size:
        seen = "missing" if data is None else f"{len(data)} bytes"
        raise EngineError(f"{file} is {seen}, should be {plan.file.size} bytes: {build}")
    if hashlib.sha256(data).hexdigest() != plan.file.sha256:
        raise EngineError(f"{file} is damaged: its SHA-256 is not the recorded {plan.file.sha256[:12]}…: {build}")
    return data


def write_plan(folder: Path, plan: Plan, data: bytes) -> Path:
    """Write a plan and then its record, so that a record never stands without its plan; returns the plan's path."""
    place = writable_folder(folder, plan.graph)
    path = place / plan.file.name
    write_atomic(path, data)
    write_atomic(path.with_suffix(".json"), plan.to_bytes())
    return path


def plan_name(precision: Precision, graph: str, gpu: Gpu, version: str) -> str:
    """File name of a plan: one per precision, graph, GPU and version; a rebuild replaces it."""
    return f"{precision}-{graph[:12]}-{slug(gpu, version)}.plan"


def slug(gpu: Gpu, version: str) -> str:
    """GPU and version as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", "{}_sm{}{}_trt{}".format(gpu.name, *gpu.capability, version))


def plan_folders(folder: Path, graph: str) -> tuple[Path, Path]:
    """Where the plans of a graph may lie, the preferred place first: the engine, the user's cache."""
    return folder / "plans", cache_folder() / "plans" / graph[:32]


def writable_folder(folder: Path, graph: str) -> Path:
    """The first of plan_folders that can be written, made if need be."""
    places = plan_folders(folder, graph)
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK):
            return place
    raise FileError(f"cannot write plans to {' or '.join(map(str, places))}: make one of them writable")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))
