"""What a library that runs plans is: the device it builds for, how it builds, and what it builds from."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from ..core.errors import SettingsError
from .session import Precision, Session

Hardware = Literal["same", "same-capability", "ampere-plus"]
"""Which devices a plan may run on: the model it was built on, GPUs of its compute capability, or of 8.0 and later."""


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan depends on: the product's name and, of an NVIDIA GPU, its compute capability (major, minor)."""

    name: str
    capability: tuple[int, int] | None = None

    def __str__(self) -> str:
        return self.name if self.capability is None else f"{self.name} (compute capability {self._version})"

    @property
    def slug(self) -> str:
        """As part of a file name."""
        return self.name if self.capability is None else f"{self.name}_sm{self._version.replace('.', '')}"

    @property
    def _version(self) -> str:
        return ".".join(map(str, self.capability or ()))


@dataclass(frozen=True)
class GraphFiles:
    """A graph of an engine: its files, its precision, and the side of its square input in pixels."""

    path: Path
    weights: Path
    precision: Precision
    image_size: int


@dataclass(frozen=True)
class BuildSettings:
    """How to build. Not every library knows all of it (plans.Library.settings).

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

    def check(self, backend: str, known: frozenset[str]) -> None:
        """SettingsError where one is set that `backend`, which knows the others, would not heed."""
        fields = dataclasses.fields(self)
        unknown = [field.name for field in fields if getattr(self, field.name) != field.default]
        unknown = [name for name in unknown if name not in known]
        if unknown:
            options = ", ".join("--" + name.replace("_", "-") for name in unknown)
            raise SettingsError(f"{options} cannot be set for {backend}: leave it out, or choose another --device")


class Built(Protocol):
    """What a library is told of a plan when it opens one (engine.plans.Plan is one).

    name: of its file, without the ending; max_batch: the most views in one run, None for any number; later_versions:
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
    """A backend that runs plans."""

    backend: str
    title: str
    version: str

    settings: frozenset[str]
    """The names of the BuildSettings that it knows."""

    def device(self) -> Device:
        """The device that plans are built for and run on; BackendError where there is none."""

    def build(self, graph: GraphFiles, settings: BuildSettings, folder: Path) -> bytes | None:
        """Compile a graph; None where the library runs the graph as it is, and only its parity is to be recorded.

        folder: where it may keep what makes the next build shorter. Raises EngineError for a graph that it cannot
        read, BackendError where it cannot build.
        """

    def open(self, graph: GraphFiles, plan: Built, data: bytes | None, threads: int | None) -> Session:
        """Open what `build` made."""


def slug(backend: str, device: Device, version: str) -> str:
    """Backend, device and version as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", f"{backend}_{device.slug}_{version}")
