"""The prompted graph: the encoder once more, with what a product learned as further inputs, over the same weights."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import onnx_ir as ir
import torch
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import BackendError, EngineError, ParityError
from goodparts.runtime.core.files import scratch, sha256, sync_file, sync_folder, write_atomic, writing
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features
from goodparts.runtime.engine.parity import PROMPTED_REFERENCE_NAME, Reference
from goodparts.runtime.engine.spec import SPEC_NAME, EngineSpec, File, Prompted, Variant, verify_files
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.method import ConditionedEncoder

from .graph import save_graph, trace
from .precisions import Exporter
from .reference import WHAT, parity_images

log = logging.getLogger(__name__)

NAME = "prompted"
SMALL = 1024
"""Bytes up to which a tensor lies in the graph's file, as save_graph has it."""


@dataclass(frozen=True, eq=False)
class PromptedExporter(Exporter):
    """Writes variants of the prompted graph. plain: those of the engine, whose weights they share; int8's own scales
    are smoothed into its weights, so it has a file of its own."""

    plain: dict[Precision, Variant] = field(default_factory=dict)

    def _save(self, model: ir.Model, name: str) -> tuple[Path, Path]:
        graph = self.graph.with_name(f"{self.graph.stem}.{name}.onnx")
        plain = self.plain.get(name)  # type: ignore[call-overload]
        if plain is None or name == "int8":
            return save_graph(model, graph.parent, graph.stem)
        return save_sharing(model, graph, graph.with_name(plain.graph)), graph.with_name(plain.weights)

    def _discard(self, graph: Path, weights: Path) -> None:
        graph.unlink()
        if weights.stem == graph.stem:
            weights.unlink()


def save_sharing(model: ir.Model, graph: Path, owner: Path) -> Path:
    """Write a graph whose large tensors are those of another graph in the same folder, byte for byte."""
    kept = {_digest(tensor): tensor for _, tensor in _large(ir.load(owner))}
    for value, tensor in _large(model):
        same = kept.get(_digest(tensor))
        if not isinstance(same, ir.ExternalTensor):
            raise EngineError(f"{graph.name}: {value.name} is none of {owner.name}'s weights: export the engine again")
        shape = ir.Shape(tensor.shape.numpy())  # which may differ where the bytes do not
        value.const_value = ir.ExternalTensor(
            same.location, same.offset, same.length, tensor.dtype,
            shape=shape, name=value.name or "", base_dir=graph.parent,
        )  # fmt: skip
    ir.save(model, graph)
    return graph


def _large(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.const_value.nbytes > SMALL:
            yield value, value.const_value


def _digest(tensor: ir.TensorProtocol) -> bytes:
    return hashlib.sha256(tensor.tobytes()).digest()


def add_prompted(
    folder: Path, backbone: Backbone, encoder: ConditionedEncoder, photos: Array8 | None = None
) -> EngineSpec:
    """Add the prompted graph to an engine, in each of its precisions that passes the gate; what is there stays as it
    is, to the byte.

    photos uint8 [n,S,S,3]: what int8 is calibrated on; drawn parts where None. Nothing changes where the engine has
    this graph already. New files appear before engine.json, which alone makes them part of the engine. EngineError
    where it has a prompted graph with other conditions, ParityError where fp32 cannot be trusted.
    """
    folder = folder.resolve()
    spec = verify_files(folder)
    if spec.prompted:
        if spec.prompted.conditions != encoder.shapes:
            raise EngineError(
                f"{folder} has a prompted graph for conditions {_shapes(spec.prompted.conditions)}, asked for is "
                f"{_shapes(encoder.shapes)}: name another folder"
            )
        return spec
    log.info("adding a prompted graph to %s", folder)
    with writing(folder), scratch(folder) as part:
        part.mkdir()
        for variant in spec.variants.values():
            for name in (variant.graph, variant.weights):
                shutil.copyfile(folder / name, part / name)  # the libraries refuse links to weights
        variants = _write(part, spec, backbone, encoder, photos)
        used = {name for variant in variants.values() for name in (variant.graph, variant.weights)}
        made = sorted({*used, PROMPTED_REFERENCE_NAME} - {file.name for file in spec.files})
        files = tuple(File(name, (part / name).stat().st_size, sha256(part / name)) for name in made)
        for name in made:
            sync_file(part / name)
            (part / name).replace(folder / name)
        sync_folder(folder)
        together = tuple(sorted((*spec.files, *files), key=lambda file: file.name))
        spec = msgspec.structs.replace(spec, files=together, prompted=Prompted(encoder.shapes, variants))
        write_atomic(folder / SPEC_NAME, spec.to_bytes())
    return spec


def _write(
    part: Path, spec: EngineSpec, backbone: Backbone, encoder: ConditionedEncoder, photos: Array8 | None
) -> dict[Precision, Variant]:
    """The variants, beside those of the plain graph; fp32 must pass, the others are left out where they do not."""
    reference = make_reference(backbone, encoder)
    reference.save(part / PROMPTED_REFERENCE_NAME)
    assert reference.conditions is not None
    example = {
        name: torch.from_numpy(array).to(backbone.device) for name, array in reference.conditions.tensors.items()
    }
    fp32 = spec.variants["fp32"]
    graph = save_sharing(trace(encoder, backbone.visual, example), part / f"{NAME}.onnx", part / fp32.graph)
    exporter = PromptedExporter(graph, part / fp32.weights, reference, photos, plain=spec.variants)
    made: dict[Precision, Variant] = {}
    for precision in spec.precisions:
        try:
            variant = exporter.write(precision)
        except (ParityError, BackendError) as error:
            if precision == "fp32":
                raise
            log.info("no prompted %s: %s", precision, error)
            continue
        if variant is not None:
            made[precision] = variant
    return made


def make_reference(backbone: Backbone, encoder: ConditionedEncoder) -> Reference:
    """Torch's features of the gate's pictures, in fp32, with random conditions."""
    images, conditions = parity_images(backbone.encoder.image_size), encoder.example()
    with torch.inference_mode():
        tensors = [torch.from_numpy(array).to(backbone.device) for array in conditions.tensors.values()]
        outputs = encoder(torch.from_numpy(images).to(backbone.device), tensors)
    whole, local, *taps = (output.float().cpu().numpy() for output in outputs)
    return Reference(
        images, f"{WHAT}; random conditions", Features(whole, local, tuple(taps), backbone.encoder.grid), conditions
    )


def _shapes(conditions: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in conditions.items())
