"""One encoder in several precisions: writing a graph for each, and holding each against torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from goodparts.runtime.engine.spec import Parity, Variant

from . import int8, mixed
from .graph import save_graph
from .labelled import LabelledPhotos

log = logging.getLogger(__name__)

PAIRS: dict[Precision, tuple[str, ...]] = {
    "fp32": ("onnxruntime", "openvino"),
    "fp16": ("onnxruntime",),
    "bf16": ("openvino",),
    "int8": ("onnxruntime", "openvino"),
}
"""Precision → the backends that can run it on a CPU. Those of a GPU are measured where there is one (`build`)."""


REST = "bf16"
"""What an int8 graph does not quantise is measured in, where that can be (backends.open_session): OpenVINO is a seventh
faster for it."""


@dataclass(frozen=True, eq=False)
class Exporter:
    """Writes variants of the fp32 graph beside it.

    photos uint8 [n,S,S,3]: what int8 is calibrated on; a drawn part of every kind where None. labelled: photos that
    every variant must tell apart as torch does, where there are any.
    """

    graph: Path
    weights: Path
    reference: Reference
    photos: Array8 | None
    labelled: LabelledPhotos | None = None

    def write(self, precision: Precision) -> Variant | None:
        """A precision that passed the gate on every backend here that can run it; None where no backend can.

        ParityError where one cannot be trusted.
        """
        if precision == "int8":
            return self._write_int8()
        graph, weights = self.graph, self.weights
        if precision != "fp32":
            model = ir.load(self.graph)
            mixed.lower(model, precision)
            graph, weights = self._save(model, precision)
        return self._variant(graph, weights, precision, self._measure(graph, precision))

    def _write_int8(self) -> Variant | None:
        """Everything in int8, or as much of it as passes: what harms the scores most stays in fp32."""
        size = self.reference.images.shape[1]
        photos, what = self.photos, "drawn parts: give good photos of yours with --calibrate-on"
        if photos is None:
            photos = np.stack([DrawnProduct(kind, seed=0).photo(1, size=(size, size)).image for kind in KINDS])
        else:
            what = f"{len(photos)} photos"
        views = int8.calibration_views(photos)
        log.info("int8: calibrating on %s; a large encoder takes some minutes", what)
        kept: list[str] = []
        ranked: list[tuple[float, str, str]] = []
        while True:
            conditions = self.reference.conditions
            model = int8.quantise(self.graph, views, kept, conditions.tensors if conditions else None)
            graph, weights = self._save(ir.from_proto(model), "int8")
            try:
                records = self._measure(graph, "int8")
                break
            except ParityError as error:
                ranked = ranked or self._rank(model)
                if len(kept) == len(ranked):
                    raise
                kept = [name for _, name, _ in ranked[: max(1, 2 * len(kept))]]
                log.info("%s: again with %d of %d products in fp32", error, len(kept), len(ranked))
        note = f"calibrated on {what}"
        if kept:
            note += "; in fp32: " + ", ".join(title for _, name, title in ranked if name in kept)
        return self._variant(graph, weights, "int8", records, note)

    def _rank(self, model: onnx.ModelProto) -> list[tuple[float, str, str]]:
        """(what is left of the difference, node, title) where one product in int8 alone is released: the most harmful
        first."""
        backend = next(name for name in PAIRS["int8"] if installed(name))
        found: list[tuple[float, str, str]] = []
        for name, title in int8.quantised_products(ir.from_proto(model)).items():
            trial = ir.from_proto(model)
            int8.release(trial, name)
            graph, weights = self._save(trial, "trial")
            session = open_session(graph, backend, "int8", None, REST)
            found.append((TOLERANCES["int8"].used(*self.reference.differences(session)), name, title))
            self._discard(graph, weights)
        return sorted(found)

    def _save(self, model: ir.Model, name: str) -> tuple[Path, Path]:
        return save_graph(model, self.graph.parent, f"{self.graph.stem}.{name}")

    def _measure(self, graph: Path, precision: Precision) -> list[Parity]:
        records: list[Parity] = []
        for backend in PAIRS[precision]:
            if not installed(backend):
                log.info("%s is not installed here: this engine will not run on it", backend)
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
                seen = self.labelled.measure(session, backend, precision)
                record = msgspec.structs.replace(record, labelled=seen)
                log.info("%s on %s: image AUROC %.4f, torch %.4f", precision, backend, seen.graph, seen.torch)
            records.append(record)
        return records

    def _variant(
        self, graph: Path, weights: Path, precision: Precision, records: Sequence[Parity], note: str = ""
    ) -> Variant | None:
        if records:
            return Variant(graph=graph.name, weights=weights.name, parity=tuple(records), note=note)
        log.info("no %s: nothing here can run it, and what was not measured is not exported", precision)
        if graph != self.graph:
            self._discard(graph, weights)
        return None

    def _discard(self, graph: Path, weights: Path) -> None:
        graph.unlink()
        weights.unlink()
