"""Precisions on backends: which an engine has here, and what each is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from goodparts.export.engines import USUAL, make_engine
from goodparts.runtime.backends.registry import AUTO, installed
from goodparts.runtime.backends.session import GraphName, Precision
from goodparts.runtime.core.errors import EngineError
from goodparts.runtime.engine.plans import graph_files, planned_backends
from goodparts.runtime.engine.spec import SPEC_NAME, EngineSpec, read_spec
from goodparts.trainer.clip.backbone import Backbone

from .contenders import Device


@dataclass(frozen=True)
class Pair:
    """A precision on a backend; the names under which its peer and its ceilings are measured."""

    backend: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"

    @property
    def device(self) -> Device:
        return "cpu" if self.backend in AUTO else "cuda"

    @property
    def arithmetic(self) -> Precision:
        """What its products are computed in: ONNX Runtime on a CPU has none in fp16."""
        return "fp32" if self.device == "cpu" and self.precision == "fp16" else self.precision

    @property
    def in_torch(self) -> Precision:
        """Its peer's precision: torch has no int8 without another export, and fp16 is for GPUs."""
        if self.device == "cpu":
            return self.precision if self.precision == "bf16" else "fp32"
        return "fp16" if self.precision == "int8" else self.precision

    def peer(self, compiled: bool = False) -> str:
        how = "torch.compile" if compiled else "eager torch"
        return f"{how} {self.in_torch}{self._where}"

    @property
    def product(self) -> str:
        return f"product {self.arithmetic}{self._where}"

    @property
    def own_product(self) -> str:
        """In the encoder's size."""
        return f"encoder's {self.product}"

    @property
    def copy(self) -> str:
        return f"copy in memory{self._where}"

    @property
    def _where(self) -> str:
        return "" if self.device == "cpu" else " GPU"


def open_or_make(backbone: Backbone, folder: Path, precisions: tuple[Precision, ...] | None) -> EngineSpec:
    """The engine at `folder`, whatever weights it has: speed does not depend on them. Made where there is none."""
    if not (folder / SPEC_NAME).is_file():
        return make_engine(backbone, folder, precisions or USUAL)
    spec = read_spec(folder)
    if spec.encoder.backbone != backbone.encoder.backbone:
        raise EngineError(
            f"{folder} holds an engine for {spec.encoder.backbone}: give --backbone {spec.encoder.backbone}, "
            "or name another folder"
        )
    return spec


def find_pairs(
    folder: Path, spec: EngineSpec, precisions: tuple[Precision, ...] | None, remarks: list[str],
    graph: GraphName = "plain",
) -> list[Pair]:  # fmt: skip
    """Return every pair that the engine allows, or has a plan for, and whose library is installed here.

    A remark is added for each of the others. graph: of which of the engine's graphs.
    """
    pairs: list[Pair] = []
    for precision in precisions or spec.graph(graph).precisions:
        recorded = [record.backend for record in spec.graph(graph).variant(precision).parity]
        planned = planned_backends(folder, graph_files(folder, spec, graph, precision))
        for backend in dict.fromkeys([*recorded, *planned]):
            if backend == "openvino-gpu":
                remarks.append(
                    f"{backend} {precision} is left out: torch, its peer, is measured on CPUs and NVIDIA GPUs"
                )
            elif installed(backend):
                pairs.append(Pair(backend, precision))
            else:
                remarks.append(f"{backend} {precision} is left out: {backend} is not installed")
    return pairs
