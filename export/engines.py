"""Making engine folders: a folder appears only after its graphs passed the gate on every installed backend."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from goodparts.runtime.backends.registry import installed
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import BackendError, EngineError, install_line
from goodparts.runtime.core.files import remove_orphans, sha256, staged
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.engine.parity import REFERENCE_NAMES
from goodparts.runtime.engine.spec import CONTRACT_VERSION, SPEC_NAME, EngineSpec, File, Graph, read_spec
from goodparts.runtime.engine.text import TEXT_NAME
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.names import DEFAULT_NAME, LARGE_NAME

from .graph import OPSET, write_graph
from .labelled import LabelledPhotos
from .options import USUAL
from .precisions import PAIRS, Exporter
from .reference import make_reference
from .text import make_text_features

log = logging.getLogger(__name__)

LIBRARIES = ("goodparts", "torch", "open_clip_torch", "onnx")
"""The packages whose versions every engine records."""
RANDOM_NOTE = "random weights: speeds are valid, fidelity is not established"
"""The note of an engine with random weights."""


def find_engine(backbone: Backbone, folder: Path) -> EngineSpec | None:
    """Return the engine in a folder, or None if the folder is absent or empty, so that one can be made there.

    Args:
        backbone: The backbone that the engine must be for.
        folder: The engine's folder.

    Raises:
        EngineError: The folder holds an engine for another backbone, or something that is no engine.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    spec = read_spec(folder)
    if spec.encoder != backbone.encoder:
        raise EngineError(
            f"{folder} holds an engine for {spec.encoder}, the backbone is {backbone.encoder}: name another folder"
        )
    return spec


def make_engine(
    backbone: Backbone,
    folder: Path,
    precisions: Iterable[Precision] | None = None,
    photos: Array8 | None = None,
    labelled: LabelledPhotos | None = None,
    *,
    few_pictures: bool = False,
) -> EngineSpec:
    """Export an engine.

    The folder appears complete, after all graphs passed the gate, or not at all. An older engine is replaced.

    Args:
        backbone: The backbone.
        folder: The engine's folder.
        precisions: The precisions that the engine must have; fp32 is always added. None for the usual precisions; then
            every precision but fp32 is left out if it fails.
        photos: The photos that int8 is calibrated on, uint8 [n,S,S,3], RGB; drawn parts if None.
        labelled: Photos, scored with this backbone, that every precision must tell apart as well as torch does; None
            for none.
        few_pictures: Whether graphs are compared with torch on two pictures instead of seven, to keep the engine small.

    Returns:
        The description of the engine.

    Raises:
        EngineError: The folder exists and is no engine.
        ParityError: A precision is too far from torch.
        BackendError: No inference library is installed.
        FileError: The folder cannot be written.
    """
    folder = folder.resolve()
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / SPEC_NAME).is_file())):
        raise EngineError(f"{folder} exists and is not an engine: name another folder")
    if not any(installed(name) for name in PAIRS["fp32"]):
        raise BackendError(f"no inference library to check the export with: {install_line('cpu')}")
    log.info("exporting %s to %s", backbone.encoder, folder)
    if backbone.encoder.backbone == DEFAULT_NAME:
        log.info("(a larger CLIP, fetched once over the network: --backbone %s)", LARGE_NAME)
    remove_orphans(folder)
    with staged(folder) as part:
        part.mkdir()
        graph, weights = write_graph(backbone.visual, part)
        reference = make_reference(backbone, few=few_pictures)
        reference.save(part / REFERENCE_NAMES["plain"])
        if backbone.has_text:
            make_text_features(backbone).save(part / TEXT_NAME)
        exporter = Exporter(graph, weights, reference, photos, labelled)
        requested: set[Precision] = {"fp32", *(USUAL if precisions is None else precisions)}
        variants = exporter.write_all(requested, required=["fp32"] if precisions is None else requested)
        paths = sorted(part.iterdir())
        spec = EngineSpec(
            contract=CONTRACT_VERSION,
            encoder=backbone.encoder,
            opset=OPSET,
            files=tuple(File(path.name, path.stat().st_size, sha256(path)) for path in paths),
            graphs={"plain": Graph(conditions={}, variants=variants)},
            versions={
                name: version(name)
                for name in (
                    *LIBRARIES,
                    *([] if backbone.has_text else ["timm"]),
                    *(["nncf"] if "int8" in variants else []),
                )
            },
            note=RANDOM_NOTE if backbone.is_random else "",
        )
        (part / SPEC_NAME).write_bytes(spec.to_bytes())
    return spec
