"""Plans: graphs that an inference library compiled, each for one device.

A plan's record tells which graph, device and library version the plan fits, and its difference from torch. A plan and
its record lie in `plans/` of the engine folder or, if that is not writable, in the user's cache. The plans of the
engine that ships with goodparts always lie in the cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..backends.library import Device, GraphFiles, Hardware, Library, slug
from ..backends.registry import open_library
from ..backends.session import GraphName, Precision, Session
from ..core.errors import EngineError, FileError
from ..core.files import NO_DIGEST, cache_folder, is_sealed, read_bytes, seal, write_atomic
from .kernels import KernelCheck, check_kernels, needs_kernel_check
from .parity import REFERENCE_NAMES, Reference
from .shipped import is_shipped
from .spec import EngineSpec, File, Parity

log = logging.getLogger(__name__)

PLAN_CONTRACT = 3
_DIGEST_MARK = b'"digest": "'


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record of a plan.

    Attributes:
        contract: The version of this format.
        graph: EngineSpec.graph_id of the graph that it was built of.
        precision: The precision that the plan computes in.
        backend: The backend's name.
        device: The device that it was built for.
        version: The version of the library that built it.
        max_batch: The most views in one run; None means any number.
        hardware: Which devices may run it.
        later_versions: Whether later versions of the library may load it.
        file: The plan's file; None if the library runs the graph file itself.
        parity: Its difference from torch; None for a plan for other GPUs until it first runs.
        kernels: The difference between the CUDA kernels and the CPU; None if there were no kernels.
        checked_on: The device on which both were measured.
        digest: The record's own SHA-256 (files.seal).
    """

    contract: int = PLAN_CONTRACT
    graph: str
    precision: Precision
    backend: str
    device: Device
    version: str
    max_batch: int | None = None
    hardware: Hardware = "same"
    later_versions: bool = False
    file: File | None = None
    parity: Parity | None = None
    kernels: KernelCheck | None = None
    checked_on: Device | None = None
    digest: str = NO_DIGEST

    def to_bytes(self) -> bytes:
        """Return the bytes of the record, with its digest filled in (files.seal)."""
        text = msgspec.json.encode(msgspec.structs.replace(self, digest=NO_DIGEST), order="sorted")
        return seal(msgspec.json.format(text, indent=2) + b"\n", _DIGEST_MARK)

    @property
    def name(self) -> str:
        """The file name without its ending: one for each precision, graph, backend, device and version."""
        return f"{self.precision}-{self.graph[:12]}-{slug(self.backend, self.device, self.version)}"

    @property
    def batches(self) -> str:
        """The batch sizes that it accepts, in words."""
        return "batches of any size" if self.max_batch is None else f"batches of 1 to {self.max_batch}"

    def misfit(self, graph: str, library: Library, device: Device) -> str | None:
        """Return why this plan cannot be used; None if it can.

        Args:
            graph: EngineSpec.graph_id of the graph to run.
            library: The library to run it with.
            device: The device to run it on.
        """
        if self.graph != graph:
            return "it is of another graph: the engine was exported again since"
        fits = {
            "same": self.device == device,
            "same-capability": self.device.capability == device.capability,
            "ampere-plus": (device.capability or (0, 0)) >= (8, 0),
        }
        if not fits[self.hardware]:
            return f"it was built for {self.device}, this is {device}"
        later = self.later_versions and _version(library.version) > _version(self.version)
        if library.version != self.version and not later:
            return f"it was built with {library.title} {self.version}, this is {library.version}"
        return None


def graph_files(folder: Path, spec: EngineSpec, name: GraphName, precision: Precision) -> GraphFiles:
    """Return the files of an engine's graph in a precision.

    Args:
        folder: The engine's folder.
        spec: The content of its engine.json.
        name: The graph's name, "plain" or "prompted".
        precision: The precision of the graph.

    Raises:
        EngineError: There is no such graph.
    """
    variant = spec.graph(name).variant(precision)
    identity = spec.graph_id(name, precision)
    return GraphFiles(name, precision, folder / variant.graph, folder / variant.weights, identity)


def open_plan(folder: Path, graph: GraphFiles, backend: str, threads: int | None) -> Session:
    """Open the plan of an engine's graph that fits this device and library. If it was checked elsewhere, check it here.

    Args:
        folder: The engine's folder.
        graph: The files of the graph that the plan must have been built of.
        backend: The backend's name.
        threads: The most threads of the library; None means no bound.

    Returns:
        The open plan.

    Raises:
        EngineError: No plan fits, or the plan is damaged.
        BackendError: The library or the device cannot be used.
        ParityError: The plan differs from torch on this device by more than its precision allows.
    """
    library = open_library(backend)
    device = library.device()
    plan, data = find_plan(folder, graph, library, device)
    session = library.open(graph, plan, data, threads)
    if plan.checked_on != device:
        plan = msgspec.structs.replace(plan, parity=None, kernels=None)
    if plan.parity is None or needs_kernel_check(plan.kernels, session):
        checked = check_plan(plan, session, Reference.open(folder / REFERENCE_NAMES[graph.name]), device)
        try:
            write_plan(folder, checked, data)
        except FileError as error:  # the next start will check again
            log.info("the check of %s is not kept: %s", plan.name, error)
    return session


def check_plan(plan: Plan, session: Session, reference: Reference, device: Device) -> Plan:
    """Return the record of an open plan, after making the checks that it lacks: parity with torch, kernels.

    Args:
        plan: The record.
        session: The open plan.
        reference: The engine's pictures and torch's features.
        device: The device that the plan runs on.

    Raises:
        ParityError: A difference is larger than allowed.
    """
    parity = plan.parity or reference.measure(session, plan.backend, plan.precision)
    kernels = plan.kernels
    if needs_kernel_check(kernels, session):
        kernels = check_kernels(session, reference, device)
    return msgspec.structs.replace(plan, parity=parity, kernels=kernels, checked_on=device)


def planned_backends(folder: Path, graph: GraphFiles) -> list[str]:
    """Return the backends for which a plan of this graph was built, whether it fits or not. No library is imported.

    Args:
        folder: The engine's folder.
        graph: The files of the graph, whose id and precision the plans must have.
    """
    plans = [plan for _, plan in read_plans(folder, graph.id)]
    return sorted({plan.backend for plan in plans if isinstance(plan, Plan) and plan.precision == graph.precision})


def find_plan(folder: Path, graph: GraphFiles, library: Library, device: Device) -> tuple[Plan, bytes | None]:
    """Return the record of the plan that fits a device, and the plan's bytes, which are None if it has no file.

    The bytes are checked, because a damaged plan could crash the process.

    Args:
        folder: The engine's folder.
        graph: The files of the graph to run.
        library: The library to run it with.
        device: The device to run it on.

    Raises:
        EngineError: No plan fits, or the plan is damaged.
    """
    prompted = " --prompted" if graph.name == "prompted" else ""
    build = (
        f"build one with `goodparts build --engine {folder} --backend {library.backend} "
        f"--precision {graph.precision}{prompted}`"
    )
    reasons: list[str] = []
    for path, plan in read_plans(folder, graph.id):
        if isinstance(plan, EngineError):
            reasons.append(str(plan))
        elif (plan.backend, plan.precision) == (library.backend, graph.precision):
            reason = plan.misfit(graph.id, library, device)
            if reason is None:
                return plan, None if plan.file is None else _read(path.parent / plan.file.name, plan.file, build)
            reasons.append(f"{path.name}: {reason}")
    detail = f" ({'; '.join(reasons)})" if reasons else ""
    raise EngineError(
        f"{folder} has no {graph.precision} plan for {device} with {library.title} {library.version}{detail}: {build}"
    )


def read_plans(folder: Path, graph: str) -> Iterator[tuple[Path, Plan | EngineError]]:
    """Yield the path and the record of each of an engine's plans; for a damaged record, an EngineError instead.

    Args:
        folder: The engine's folder.
        graph: EngineSpec.graph_id, under which plans lie in the user's cache. Plans in the engine's folder are yielded
            for all graphs.
    """
    for place in plan_folders(folder, graph):
        for path in sorted(place.glob("*.json")):
            try:
                text = read_bytes(path)
                plan = msgspec.json.decode(text, type=Plan)
                intact = plan.contract == PLAN_CONTRACT and is_sealed(text, _DIGEST_MARK, plan.digest)
                yield path, plan if intact else EngineError(f"{path.name} is damaged or of another version")
            except (msgspec.MsgspecError, FileError) as error:
                yield path, EngineError(f"{path.name} is damaged or of another version: {error}")


def _read(path: Path, file: File, build: str) -> bytes:
    """Read a plan and compare it with its record. Raise EngineError, with the advice `build`, if it is damaged."""
    data = read_bytes(path) if path.is_file() else None
    if data is None or len(data) != file.size:
        actual = "missing" if data is None else f"{len(data)} bytes"
        raise EngineError(f"{path} is {actual}, should be {file.size} bytes: {build}")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise EngineError(f"{path} is damaged: its SHA-256 is not the recorded {file.sha256[:12]}…: {build}")
    return data


def write_plan(folder: Path, plan: Plan, data: bytes | None) -> None:
    """Write a plan and then its record, so that there is never a record without its plan.

    Args:
        folder: The engine's folder.
        plan: The record.
        data: The plan's bytes; None if it has no file.
    """
    place = writable_folder(folder, plan.graph)
    if plan.file is not None and data is not None:
        write_atomic(place / plan.file.name, data)
    write_atomic(place / f"{plan.name}.json", plan.to_bytes())


def plan_folders(folder: Path, graph: str) -> tuple[Path, ...]:
    """Return the folders for the plans of a graph: the one in the engine, which is preferred, and the user's cache.

    Args:
        folder: The engine's folder.
        graph: EngineSpec.graph_id.
    """
    cached = cache_folder() / "plans" / graph[:32]
    return (cached,) if is_shipped(folder) else (folder / "plans", cached)


def writable_folder(folder: Path, graph: str) -> Path:
    """Return the first of plan_folders that is writable. It is created if it does not exist.

    Args:
        folder: The engine's folder.
        graph: EngineSpec.graph_id.

    Raises:
        FileError: No folder is writable.
    """
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
