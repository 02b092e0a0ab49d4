"""Engines to measure, existing or new, and which of an engine's precisions run on which backends here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from goodparts.runtime.backends.registry import AUTO, installed
from goodparts.runtime.backends.session import GraphName, Precision
from goodparts.runtime.core.errors import BackendError, EngineError, install_line
from goodparts.runtime.engine.plans import graph_files, planned_backends
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.engine.spec import SPEC_NAME, EngineSpec, read_spec
from goodparts.trainer.clip.names import LARGE_NAME

from ..peers.torch_encoder import Device


@dataclass(frozen=True)
class PrecisionOnBackend:
    """A precision on a backend, and the names of its peer and its ceilings in the report.

    Attributes:
        backend: The backend's name.
        precision: The precision of the engine's graph.
    """

    backend: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"

    @property
    def device(self) -> Device:
        """The device that the backend runs on, by its name in torch."""
        return "cpu" if self.backend in AUTO else "cuda"

    @property
    def arithmetic(self) -> Precision:
        """The precision in which products are computed. On CPUs, ONNX Runtime has no products in fp16."""
        return "fp32" if self.device == "cpu" and self.precision == "fp16" else self.precision

    @property
    def torch_precision(self) -> Precision:
        """The precision of its peer. torch has no int8 without another export, and fp16 only on GPUs."""
        if self.device == "cpu":
            return self.precision if self.precision == "bf16" else "fp32"
        return "fp16" if self.precision == "int8" else self.precision

    def peer(self, compiled: bool = False) -> str:
        """Return the name of the same encoder in torch.

        Args:
            compiled: Whether the encoder is compiled by torch.compile.
        """
        variant = "torch.compile" if compiled else "eager torch"
        return f"{variant} {self.torch_precision}{self._device_suffix}"

    @property
    def product(self) -> str:
        """The name of a large matrix product in the same arithmetic."""
        return f"product {self.arithmetic}{self._device_suffix}"

    @property
    def encoder_product(self) -> str:
        """The name of products of the encoder's size in the same arithmetic."""
        return f"encoder's {self.product}"

    @property
    def copy(self) -> str:
        """The name of a copy within the memory of the same device."""
        return f"copy in memory{self._device_suffix}"

    @property
    def _device_suffix(self) -> str:
        return "" if self.device == "cpu" else " GPU"


def engine_folder(engine: Path | None, backbone: str | None, temporary: Path) -> Path:
    """Return the named folder, otherwise the shipped engine's folder, or a temporary folder for a named backbone.

    Args:
        engine: The folder of --engine, or None.
        backbone: The name of --backbone, or None.
        temporary: A folder that is removed after the benchmark.
    """
    return engine or (SHIPPED if backbone is None else temporary / "engine")


def open_or_make_engine(folder: Path, backbone: str | None, precisions: Sequence[Precision] | None) -> EngineSpec:
    """Read the engine in a folder, or make one if there is none.

    An existing engine may have any weights, because speed does not depend on them.

    Args:
        folder: The engine's folder.
        backbone: The name of its backbone; None for the existing engine's backbone, or LARGE_NAME for a new engine.
        precisions: The precisions of a new engine; None for the usual precisions.

    Returns:
        The description of the engine.

    Raises:
        EngineError: The existing engine has another backbone or is damaged.
        BackendError: An engine must be made, and a package that this needs is not installed.
        BackboneError: The backbone of a new engine is unknown or not supported.
        ParityError: A precision of a new engine is too far from torch.
        FileError: The folder of a new engine cannot be written.
    """
    if (folder / SPEC_NAME).is_file():
        spec = read_spec(folder)
        if backbone not in (None, spec.encoder.backbone):
            raise EngineError(
                f"{folder} holds an engine for {spec.encoder.backbone}: give --backbone {spec.encoder.backbone}, "
                "or name another folder"
            )
        return spec
    try:
        from goodparts.export.engines import make_engine
        from goodparts.export.options import USUAL

        from ..backbones import open_backbone
    except ModuleNotFoundError as error:
        raise BackendError(
            f"no engine at {folder}, and {error.name}, which makes one, is not installed: give --engine with an "
            f"engine, or {install_line('train')}"
        ) from error
    return make_engine(open_backbone(backbone or LARGE_NAME), folder, precisions or USUAL)


def nothing_runs(remarks: Sequence[str]) -> BackendError:
    """Return the error for an engine that does not run here.

    Args:
        remarks: Why each of its precisions does not run.
    """
    return BackendError("; ".join(["no precision of this engine runs on a backend here", *remarks]))


def find_precisions_on_backends(
    folder: Path,
    spec: EngineSpec,
    precisions: Sequence[Precision] | None,
    remarks: list[str],
    graph: GraphName = "plain",
) -> list[PrecisionOnBackend]:
    """List every precision on every backend that is installed here and that the engine allows or has a plan for.

    Args:
        folder: The engine's folder.
        spec: The engine's description.
        precisions: Only these precisions; None for all precisions of the engine.
        remarks: Gets one line for each precision on a backend that is left out.
        graph: The engine's graph.

    Returns:
        The precisions in the given order, each with its backends.

    Raises:
        EngineError: The engine has no such graph, or no graph of the precision.
    """
    runnable: list[PrecisionOnBackend] = []
    for precision in precisions or spec.graph(graph).precisions:
        recorded = [record.backend for record in spec.graph(graph).variant(precision).parity]
        planned = planned_backends(folder, graph_files(folder, spec, graph, precision))
        for backend in dict.fromkeys([*recorded, *planned]):
            if backend == "openvino-gpu":
                remarks.append(
                    f"{backend} {precision} is left out: torch, its peer, is measured on CPUs and NVIDIA GPUs"
                )
            elif installed(backend):
                runnable.append(PrecisionOnBackend(backend, precision))
            else:
                remarks.append(f"{backend} {precision} is left out: {backend} is not installed")
    return runnable
