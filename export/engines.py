"""Making engine folders: export, pass the gate on every backend that is installed, and only then appear."""

from __future__ import annotations

import logging
import secrets
import shutil
from importlib.metadata import version
from pathlib import Path

from goodparts.runtime.backends import BACKENDS, installed, open_session
from goodparts.runtime.engine import (
    CONTRACT_VERSION,
    SPEC_NAME,
    EngineSpec,
    File,
    Parity,
    Precision,
    Variant,
    read_spec,
)
from goodparts.runtime.errors import BackendError, EngineError
from goodparts.runtime.files import sha256, sync_file, sync_folder, write_atomic, writing
from goodparts.trainer.backbone import Backbone

from . import parity
from .onnx_graph import GRAPH_NAME, OPSET, write_graph

log = logging.getLogger(__name__)

PAIRS: dict[Precision, tuple[str, ...]] = {"fp32": ("onnxruntime", "openvino"), "bf16": ("openvino",)}
"""Precision → the backends that can run it. All of these share one fp32 graph file."""


def find_engine(backbone: Backbone, folder: Path) -> EngineSpec | None:
    """The engine at `folder`, or None where one can be made: the folder is absent or empty.

    Raises EngineError where an engine for another backbone, or anything else, is in the way.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    spec = read_spec(folder)
    if spec.encoder != backbone.encoder:
        raise EngineError(
            f"{folder} holds an engine for {spec.encoder}, asked for is {backbone.encoder}: name another folder"
        )
    return spec


def make_engine(backbone: Backbone, folder: Path) -> EngineSpec:
    """Export an engine. The folder appears whole, after the gate, or not at all; an older engine is replaced.

    Raises EngineError rather than replace anything but an engine.
    """
    folder = folder.resolve()
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / SPEC_NAME).is_file())):
        raise EngineError(f"{folder} exists and is not an engine: name another folder")
    backends = [name for name in BACKENDS if installed(name)]
    if not backends:
        raise BackendError('no inference library to check the export with: pip install "goodparts[cpu]"')
    log.info("exporting %s to %s", backbone.encoder, folder)
    with writing(folder):
        part = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
        part.mkdir()
        try:
            paths = write_graph(backbone.visual, part)
            variants = _measure_all(backbone, part / GRAPH_NAME, backends)
            spec = EngineSpec(
                contract=CONTRACT_VERSION,
                encoder=backbone.encoder,
                opset=OPSET,
                files=tuple(File(path.name, path.stat().st_size, sha256(path)) for path in paths),
                variants=variants,
                versions={name: version(name) for name in ("goodparts", "torch", "open_clip_torch", "onnx")},
            )
            for path in paths:
                sync_file(path)
            write_atomic(part / SPEC_NAME, spec.to_bytes())
            _swap(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return spec


def _measure_all(backbone: Backbone, graph: Path, backends: list[str]) -> dict[Precision, Variant]:
    variants: dict[Precision, Variant] = {}
    for precision, pairs in PAIRS.items():
        records: list[Parity] = []
        for backend in pairs:
            if backend not in backends:
                log.info("%s is not installed here: this engine will not run on it", backend)
                continue
            try:
                session = open_session(graph, backend, [backend], precision, None)
            except BackendError as error:
                if precision == "fp32":
                    raise
                log.info("no %s on %s: %s", precision, backend, error)
                continue
            record = parity.measure(backbone, session, backend, precision)
            log.info(
                "%s on %s: differs from torch by %.1e on features, %.1e on scores",
                precision, backend, record.feature_difference, record.score_difference,
            )  # fmt: skip
            records.append(record)
        if records:
            variants[precision] = Variant(graph=graph.name, parity=tuple(records))
    return variants


def _swap(part: Path, folder: Path) -> None:
    """Put a finished folder in its place; an older one steps aside first and is removed last."""
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.old")
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
