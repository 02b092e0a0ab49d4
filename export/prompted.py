"""The prompted graph: the encoder with a product's learned tensors as inputs; it shares the plain graph's weights."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import msgspec
import torch
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import EngineError
from goodparts.runtime.core.files import scratch, sha256, sync_file, sync_folder, write_atomic, writing
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.engine.parity import REFERENCE_NAMES
from goodparts.runtime.engine.shipped import refuse_shipped
from goodparts.runtime.engine.spec import SPEC_NAME, EngineSpec, File, Graph, Variant, verify_files
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.conditioned_encoder import ConditionedEncoder

from .graph import save_sharing, trace
from .precisions import Exporter
from .reference import make_prompted_reference

log = logging.getLogger(__name__)

NAME = "prompted"
"""The graph's file name without its ending."""


def add_prompted(
    folder: Path, backbone: Backbone, encoder: ConditionedEncoder, photos: Array8 | None = None
) -> EngineSpec:
    """Add the prompted graph to an engine, in each of the engine's precisions that passes the gate.

    Existing files are not changed, and nothing changes if the engine has this graph already. New files appear before
    engine.json, which makes them part of the engine.

    Args:
        folder: The engine's folder.
        backbone: The backbone of the engine.
        encoder: The encoder with conditions.
        photos: The photos that int8 is calibrated on, uint8 [n,S,S,3]; drawn parts if None.

    Returns:
        The engine's new description.

    Raises:
        EngineError: The engine is damaged, ships with goodparts, or has a prompted graph with other conditions.
        ParityError: fp32 is too far from torch.
        FileError: The folder cannot be written.
    """
    folder = folder.resolve()
    spec = verify_files(folder)
    refuse_shipped(folder)
    if "prompted" in spec.graphs:
        conditions = spec.graph("prompted").conditions
        if conditions != encoder.shapes:
            raise EngineError(
                f"{folder} has a prompted graph for conditions {_shapes(conditions)}, the encoder has "
                f"{_shapes(encoder.shapes)}: name another folder"
            )
        return spec
    log.info("adding a prompted graph to %s", folder)
    with writing(folder), scratch(folder) as part:
        part.mkdir()
        for variant in spec.graph("plain").variants.values():
            for name in (variant.graph, variant.weights):
                shutil.copyfile(folder / name, part / name)  # the inference libraries refuse links to weights
        graph = Graph(conditions=encoder.shapes, variants=_write(part, spec, backbone, encoder, photos))
        names = {name for variant in graph.variants.values() for name in (variant.graph, variant.weights)}
        new = sorted({*names, REFERENCE_NAMES["prompted"]} - {file.name for file in spec.files})
        files = [*spec.files, *(File(name, (part / name).stat().st_size, sha256(part / name)) for name in new)]
        for name in new:
            sync_file(part / name)
            (part / name).replace(folder / name)
        sync_folder(folder)
        spec = msgspec.structs.replace(
            spec,
            files=tuple(sorted(files, key=lambda file: file.name)),
            graphs={**spec.graphs, "prompted": graph},
        )
        write_atomic(folder / SPEC_NAME, spec.to_bytes())
    return spec


def _write(
    part: Path, spec: EngineSpec, backbone: Backbone, encoder: ConditionedEncoder, photos: Array8 | None
) -> dict[Precision, Variant]:
    """Write the variants into a folder that holds the plain graph's files; only fp32 must pass the gate."""
    reference = make_prompted_reference(backbone, encoder)
    reference.save(part / REFERENCE_NAMES["prompted"])
    assert reference.conditions is not None
    example = {
        name: torch.from_numpy(array).to(backbone.device) for name, array in reference.conditions.tensors.items()
    }
    plain = spec.graph("plain")
    fp32 = plain.variants["fp32"]
    graph = save_sharing(trace(encoder, backbone.visual, example), part / f"{NAME}.onnx", part / fp32.graph)
    exporter = Exporter(graph, part / fp32.weights, reference, photos, shares_with=plain)
    return exporter.write_all(plain.precisions, required=["fp32"])


def _shapes(conditions: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in conditions.items())
