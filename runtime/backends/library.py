"""What a library that runs plans is: the device it builds for, how it builds, and what it builds from.

A new backend of this kind is a module with a class that fulfils Library, a function `library` that makes one, and a
line in registry.BACKENDS. A GPU's session extends gpu_session.GpuSession.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from ..core.errors import SettingsError
from .session import GraphName, Precision, Session

Hardware = Literal["same", "same-capability", "ampere-plus"]
"""Which devices a plan may run on: the model it was built on, GPUs of its compute capability, or of 8.0 and later."""


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The device that a plan is built for.

    Attributes:
        name: Its product name.
        capability: The compute capability of an NVIDIA GPU.
        multiprocessors: How many it has; every Jetson Orin, whatever its size, has the same name and capability.
        memory: Its memory in GiB, rounded.
    """

    name: str
    capability: tuple[int, int] | None = None
    multiprocessors: int | None = None
    memory: int | None = None

    def __str__(self) -> str:
        if self.capability is None:
            return self.name
        size = "" if self.multiprocessors is None else f", {self.multiprocessors} multiprocessors, {self.memory} GiB"
        return f"{self.name} (compute capability {'.'.join(map(str, self.capability))}{size})"

    @property
    def slug(self) -> str:
        """The device as part of a file name."""
        if self.capability is None:
            return self.name
        size = "" if self.multiprocessors is None else f"_{self.multiprocessors}mp_{self.memory}gib"
        return f"{self.name}_sm{''.join(map(str, self.capability))}{size}"


@dataclass(frozen=True)
class GraphFiles:
    """A graph of an engine in one precision: its files and its id.

    path: the ONNX file; weights: its weights beside it; id: EngineSpec.graph_id, which changes with every byte of both.
    """

    name: GraphName
    precision: Precision
    path: Path
    weights: Path
    id: str


@dataclass(frozen=True)
class BuildSettings:
    """How to build a plan. A library knows some of these settings (Library.settings).

    max_batch: most views in one run; opt_batch: the batch size to be fastest at; hardware: which devices may run the
    plan; later_versions: whether later versions of the library may; level: TensorRT's optimisation level, 0 to 5;
    workspace: bound on scratch memory in MiB, None for no bound; capability: the compute capability of the GPUs that
    the plan is for, None for this machine's GPU. Raises SettingsError for impossible values.
    """

    max_batch: int = 8
    opt_batch: int = 1
    hardware: Hardware = "same"
    later_versions: bool = False
    level: int = 3
    workspace: int | None = None
    capability: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.opt_batch <= self.max_batch:
            raise SettingsError(f"--opt-batch {self.opt_batch} is outside 1 to --max-batch {self.max_batch}")
        if self.workspace is not None and self.workspace < 1:
            raise SettingsError(f"--workspace {self.workspace}: at least 1 MiB is needed")

    @property
    def target(self) -> Device | None:
        """The device that the plan is for, None for this machine's."""
        return None if self.capability is None else Device("any GPU", self.capability)

    def check(self, backend: str, known: frozenset[str]) -> None:
        """Raise SettingsError where a setting was changed that `backend`, which knows those in `known`, ignores."""
        changed = [field.name for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]
        unknown = [name for name in changed if name not in known]
        if unknown:
            options = ", ".join("--" + name.replace("_", "-") for name in unknown)
            raise SettingsError(f"{options} cannot be set for {backend}: leave it out, or choose another --device")


class BuiltPlan(Protocol):
    """What a library needs to know of a plan to open it; engine.plans.Plan has it.

    name: of its file, without the ending; max_batch: most views in one run, None for any number; later_versions:
    whether later versions of the library may load it.
    """

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> Precision: ...

    @property
    def device(self) -> Device: ...

    @property
    def max_batch(self) -> int | None: ...

    @property
    def later_versions(self) -> bool: ...


class Library(Protocol):
    """An inference library that runs plans on one kind of device."""

    backend: str
    """The name in registry.BACKENDS."""

    title: str
    """The library's name as messages give it."""

    version: str
    """A plan fits this version only, unless it was built for later ones."""

    settings: frozenset[str]
    """The names of the BuildSettings that it knows."""

    def device(self) -> Device:
        """Return the device that plans are built for and run on; BackendError where there is none."""

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> bytes | None:
        """Build a plan of a graph and return its bytes.

        None means that the library runs the graph file itself and only the difference from torch is to be recorded.

        folder: where the library may keep what shortens the next build. Raises EngineError for a graph that it cannot
        read, BackendError where it cannot build.
        """

    def open(self, graph: GraphFiles, plan: BuiltPlan, data: bytes | None, threads: int | None) -> Session:
        """Open what `build` made.

        data: what `build` returned; threads: bound on the library's threads, None for no bound. Raises BackendError
        where the plan is refused or the device has too little memory.
        """


def slug(backend: str, device: Device, version: str) -> str:
    """Return backend, device and version as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", f"{backend}_{device.slug}_{version}")
