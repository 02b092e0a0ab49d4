"""One graph in several precisions. Each variant is written and compared with torch on every backend that can run it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
from goodparts.drawn.parts import KINDS
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.backends.registry import installed, open_session
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import BackendError, ParityError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.engine.parity import TOLERANCES, Reference
from goodparts.runtime.engine.spec import Graph, Parity, Variant

from . import int8, mixed
from .graph import save_graph, save_sharing
from .labelled import LabelledPhotos

log = logging.getLogger(__name__)

PAIRS: dict[Precision, tuple[str, ...]] = {
    "fp32": ("onnxruntime", "openvino"),
    "fp16": ("onnxruntime",),
    "bf16": ("openvino",),
    "int8": ("onnxruntime", "openvino"),
}
"""The backends that can run each precision on a CPU. A GPU's backends are measured on a machine that has one
(`build`)."""

REST = "bf16"
"""The precision of the operations that an int8 graph does not quantise, on backends that support it
(registry.open_session). OpenVINO is one seventh faster with it."""


@dataclass(frozen=True, eq=False)
class Exporter:
    """Writes the variants of a graph into the folder of its fp32 files.

    Attributes:
        graph: The file of the fp32 graph.
        weights: The file of its weights.
        reference: The pictures and torch's features that variants are compared with.
        photos: The photos that int8 is calibrated on, uint8 [n,S,S,3]; None for a drawn part of every kind.
        labelled: Photos that every variant must tell apart as well as torch does; None for none.
        shares_with: Another graph of the encoder in the same folder, whose weights' files this graph shares; None if it
            has its own files.
    """

    graph: Path
    weights: Path
    reference: Reference
    photos: Array8 | None
    labelled: LabelledPhotos | None = None
    shares_with: Graph | None = None

    def write_all(self, precisions: Collection[Precision], required: Collection[Precision]) -> dict[Precision, Variant]:
        """Write variants. One that fails is left out unless it is required.

        Args:
            precisions: The precisions to write.
            required: The precisions among them that must not fail.

        Returns:
            The variants that passed the gate.

        Raises:
            ParityError: A required precision is too far from torch.
            BackendError: A library for a required precision is missing, or cannot run the graph.
        """
        variants: dict[Precision, Variant] = {}
        for precision in get_args(Precision):
            if precision not in precisions:
                continue
            try:
                variant = self.write(precision)
            except (ParityError, BackendError) as error:
                if precision in required:
                    raise
                log.info("no %s: %s", precision, error)
                for path in self.graph.parent.glob(f"{self.graph.stem}.{precision}.*"):
                    path.unlink()
                continue
            if variant is not None:
                variants[precision] = variant
        return variants

    def write(self, precision: Precision) -> Variant | None:
        """Write a variant, and compare it with torch on every installed backend that can run it.

        Args:
            precision: The precision.

        Returns:
            The variant after it passed the gate; None if no installed backend can run it.

        Raises:
            ParityError: A backend differs too much from torch.
            BackendError: A library is missing, or cannot run the graph in fp32.
        """
        if precision == "int8":
            return self._write_int8()
        if precision == "fp32":
            return self._variant(self.graph, self.weights, "fp32", self._measure(self.graph, "fp32"))
        model = ir.load(self.graph)
        mixed.lower(model, precision)
        owner = self.shares_with.variants.get(precision) if self.shares_with else None
        if owner is None:
            graph, weights = self._save(model, precision)
        else:
            graph, weights = self._path(precision), self.graph.with_name(owner.weights)
            save_sharing(model, graph, graph.with_name(owner.graph))
        return self._variant(graph, weights, precision, self._measure(graph, precision))

    def _write_int8(self) -> Variant | None:
        """Write a graph with all layers in int8; while it fails the gate, put more of the most harmful layers in fp32.

        Its weights always have their own file, because the scales of the activations are smoothed into them.
        """
        size = self.reference.images.shape[1]
        if self.photos is not None:
            photos, source = self.photos, f"{len(self.photos)} photos"
        else:
            photos = np.stack([DrawnProduct(kind, seed=0).photo(1, size=(size, size)).image for kind in KINDS])
            source = "drawn parts: give good photos of your product with --int8-photos"
        views = int8.calibration_views(photos)
        log.info("int8: calibrating on %s; a large encoder takes some minutes", source)
        in_fp32: list[str] = []
        ranked: list[tuple[float, str, str]] = []
        while True:
            conditions = self.reference.conditions
            model = int8.quantise(self.graph, views, in_fp32, conditions.tensors if conditions else None)
            graph, weights = self._save(ir.from_proto(model), "int8")
            try:
                records = self._measure(graph, "int8")
                break
            except ParityError as error:
                ranked = ranked or self._rank(model)
                in_fp32 = [name for _, name, _ in ranked[: max(1, 2 * len(in_fp32))]]
                if len(in_fp32) == len(ranked):
                    raise ParityError(f"{error}; with more layers in fp32, none would be left in int8") from error
                log.info("%s: trying again with %d of %d layers in fp32", error, len(in_fp32), len(ranked))
        note = f"calibrated on {source}"
        if in_fp32:
            note += "; in fp32: " + ", ".join(title for _, name, title in ranked if name in in_fp32)
        return self._variant(graph, weights, "int8", records, note)

    def _rank(self, model: onnx.ModelProto) -> list[tuple[float, str, str]]:
        """Release one quantised layer at a time, and return (remaining difference, node, title) for each.

        The layer whose release leaves the smallest difference does most harm, and comes first.
        """
        backend = next(name for name in PAIRS["int8"] if installed(name))
        ranked: list[tuple[float, str, str]] = []
        for name, title in int8.quantised_products(ir.from_proto(model)).items():
            trial = ir.from_proto(model)
            int8.release(trial, name)
            graph, weights = self._save(trial, "trial")
            session = open_session(graph, backend, "int8", None, REST)
            ranked.append((TOLERANCES["int8"].share(*self.reference.differences(session)), name, title))
            self._discard(graph, weights)
        return sorted(ranked)

    def _path(self, name: str) -> Path:
        return self.graph.with_name(f"{self.graph.stem}.{name}.onnx")

    def _save(self, model: ir.Model, name: str) -> tuple[Path, Path]:
        return save_graph(model, self.graph.parent, self._path(name).stem)

    def _measure(self, graph: Path, precision: Precision) -> list[Parity]:
        records: list[Parity] = []
        for backend in PAIRS[precision]:
            if not installed(backend):
                log.info("%s is not installed: the engine will not run on it", backend)
                continue
            try:
                session = open_session(graph, backend, precision, None, REST)
            except BackendError as error:
                if precision == "fp32":
                    raise
                log.info("no %s on %s: %s", precision, backend, error)
                continue
            record = self.reference.measure(session, backend, precision)
            log.info(
                "%s on %s: differs from torch by %.1e on features, %.1e on scores",
                precision, backend, record.feature_difference, record.score_difference,
            )  # fmt: skip
            if self.labelled is not None:
                labelled = self.labelled.measure(session, backend, precision)
                record = msgspec.structs.replace(record, labelled=labelled)
                log.info("%s on %s: image AUROC %.4f, torch %.4f", precision, backend, labelled.graph, labelled.torch)
            records.append(record)
        return records

    def _variant(
        self, graph: Path, weights: Path, precision: Precision, records: Sequence[Parity], note: str = ""
    ) -> Variant | None:
        if records:
            return Variant(graph=graph.name, weights=weights.name, parity=tuple(records), note=note)
        log.info("no %s: no installed library can run it, and only graphs compared with torch are exported", precision)
        if graph != self.graph:
            self._discard(graph, weights)
        return None

    def _discard(self, graph: Path, weights: Path) -> None:
        graph.unlink()
        if weights.stem == graph.stem:  # otherwise another graph uses them too
            weights.unlink()
