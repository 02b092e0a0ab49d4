"""The interface of a library that runs plans: the device it builds for, how it builds, and what it builds from.

To add such a backend, write a module with a class that fulfils Library and a function `library` that returns one, and
add a line to registry.BACKENDS. On a GPU, its session extends gpu_session.GpuSession.
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
"""The devices that a plan may run on: the model that it was built on, GPUs of its compute capability, or GPUs of
compute capability 8.0 and later.
"""


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The device that a plan is built for.

    Attributes:
        name: Its product name.
        capability: The compute capability of an NVIDIA GPU.
        multiprocessors: The number of its multiprocessors. All Jetson Orin modules have the same name and
            capability; this number distinguishes their sizes.
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
    """The files of one graph of an engine in one precision.

    Attributes:
        name: The graph's name, "plain" or "prompted".
        precision: The precision that the graph computes in.
        path: The ONNX file.
        weights: The file beside it with its weights.
        id: EngineSpec.graph_id, which changes with every byte of both files.
    """

    name: GraphName
    precision: Precision
    path: Path
    weights: Path
    id: str


@dataclass(frozen=True)
class BuildSettings:
    """How to build a plan. Each library supports some of these settings (Library.settings).

    Attributes:
        max_batch: The most views in one run.
        opt_batch: The batch size to be fastest at.
        hardware: Which devices may run the plan.
        later_versions: Whether later versions of the library may run the plan.
        level: TensorRT's optimisation level, 0 to 5.
        workspace: The most scratch memory, in MiB; None means no bound.
        capability: The compute capability of the GPUs that the plan is for; None means this machine's GPU.

    Raises:
        SettingsError: A value is not accepted.
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
        """The device that the plan is for; None means this machine's."""
        return None if self.capability is None else Device("any GPU", self.capability)

    def check(self, backend: str, known: frozenset[str]) -> None:
        """Check that every changed setting is one that the backend supports.

        Args:
            backend: The backend's name, for the error.
            known: The settings that the backend supports.

        Raises:
            SettingsError: A setting that the backend does not support is not at its default.
        """
        changed = [field.name for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]
        unknown = [name for name in changed if name not in known]
        if unknown:
            options = ", ".join("--" + name.replace("_", "-") for name in unknown)
            raise SettingsError(f"{options} cannot be set for {backend}: leave it out, or choose another --backend")


class BuiltPlan(Protocol):
    """The part of a plan's record that a library needs to open the plan. engine.plans.Plan fulfils it."""

    @property
    def name(self) -> str:
        """The plan's file name, without the ending."""

    @property
    def precision(self) -> Precision:
        """The precision that the plan computes in."""

    @property
    def device(self) -> Device:
        """The device that the plan was built for."""

    @property
    def max_batch(self) -> int | None:
        """The most views in one run; None means any number."""

    @property
    def later_versions(self) -> bool:
        """Whether later versions of the library may load the plan."""


class Library(Protocol):
    """An inference library that runs plans on one kind of device."""

    backend: str
    """The backend's name in registry.BACKENDS."""

    title: str
    """The library's name in messages."""

    version: str
    """The library's version. A plan fits only this version, unless it was built for later ones too."""

    settings: frozenset[str]
    """The names of the BuildSettings that it supports."""

    def device(self) -> Device:
        """Return the device that plans are built for and run on.

        Raises:
            BackendError: There is no such device.
        """

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> bytes | None:
        """Build a plan of a graph.

        Args:
            graph: The files of the graph to build the plan of.
            settings: How to build.
            folder: The folder in which the library may store data that shortens the next build.

        Returns:
            The plan's bytes. None if the library runs the graph file itself; the plan's record then holds only how far
            the graph is from torch on this device.

        Raises:
            EngineError: The library cannot read the graph.
            BackendError: The library cannot build.
        """

    def open(self, graph: GraphFiles, plan: BuiltPlan, data: bytes | None, threads: int | None) -> Session:
        """Open a plan that `build` made.

        Args:
            graph: The graph that the plan was built of.
            plan: The plan's record.
            data: The value that `build` returned.
            threads: The most threads of the library; None means no bound.

        Returns:
            The open plan.

        Raises:
            BackendError: The library refuses the plan, or the device has too little memory.
        """


def slug(backend: str, device: Device, version: str) -> str:
    """Return backend, device and version as part of a file name.

    Args:
        backend: The backend's name.
        device: The device that the plan is for.
        version: The library's version.
    """
    return re.sub(r"[^A-Za-z0-9.]+", "_", f"{backend}_{device.slug}_{version}")
