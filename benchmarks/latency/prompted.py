"""Compares a frame with an AnoPLe recipe and one with a PromptAD recipe, on one engine, per precision and backend.

Both are timed from uint8 RGB of 1280×1024 pixels to an Inspection with its map, in turn. There is one untimed call
before every timed one, because a line seldom changes its product.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from goodparts.evaluation.report.report import Findings
from goodparts.export.prompted import add_prompted
from goodparts.runtime import Detector, Engine
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats
from goodparts.runtime.recipe.header import PROMPTED_VERSION
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.anople.encoder import PromptedEncoder
from goodparts.trainer.anople.settings import DEFAULT

from .. import options
from ..backbones import open_backbone
from ..synthetic import make_frame, make_recipe
from ..timing import in_this_process, interleave, percentile
from .engines import PrecisionOnBackend, find_precisions_on_backends, open_or_make_engine

log = logging.getLogger(__name__)

REPEAT = 100
SHOTS = 4
AIM = 1.25
"""The aim for the time of AnoPLe's frame ÷ the time of PromptAD's frame."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_engine(parser)
    options.add_repeat(parser, REPEAT)


def measure(
    *, engine: Path | None, backbone: str | None, precisions: Sequence[Precision] | None, repeat: int
) -> Findings:
    findings = Findings()
    with tempfile.TemporaryDirectory() as temporary:
        folder = engine or Path(temporary) / "engine"
        model = open_backbone(open_or_make_engine(folder, backbone, precisions).encoder.backbone)
        encoder = PromptedEncoder(model, DEFAULT)
        spec = add_prompted(folder, model, encoder)
        del model
        conditions, frame = encoder.example(), make_frame()
        for candidate in find_precisions_on_backends(folder, spec, precisions, findings.remarks, "prompted"):
            log.info("timing %s", candidate)
            compare(findings, folder, candidate, conditions, frame, repeat)
    return findings


def compare(
    findings: Findings,
    folder: Path,
    candidate: PrecisionOnBackend,
    conditions: Conditions,
    frame: Array8,
    repeat: int,
) -> None:
    """Add percentiles of both recipes, and the median of the ratios of frames that were timed one after the other.

    Args:
        findings: Gets the rows, in milliseconds, and the aim.
        folder: The engine's folder.
        candidate: The precision on a backend.
        conditions: The inputs of the prompted graph besides the views.
        frame: The frame, uint8 RGB [H,W,3].
        repeat: The number of timed pairs.

    Raises:
        EngineError: The engine does not support the backend with the precision, or has no prompted graph.
        BackendError: The inference library is missing or fails.
    """
    engine = Engine.open(folder, backend=candidate.backend, precision=candidate.precision)
    plain = make_recipe(engine.encoder, engine.graph_id(), SHOTS)
    prompted = conditioned(plain, engine.graph_id(conditions), conditions)
    detectors = {"PromptAD": Detector(engine, plain), "AnoPLe": Detector(engine, prompted)}
    calls = {name: in_this_process(functools.partial(inspect, detector, frame)) for name, detector in detectors.items()}
    timings = interleave(calls, repeat, settle=1)
    ours, peer = timings["AnoPLe"].seconds, timings["PromptAD"].seconds
    for rank in (50, 90):
        value, peer_value = (percentile(seconds, rank) * 1e3 for seconds in (ours, peer))
        findings.add(f"{candidate}, AnoPLe, p{rank}", value, "ms", "PromptAD", peer_value)
    ratios = [prompted_seconds / plain_seconds for prompted_seconds, plain_seconds in zip(ours, peer, strict=True)]
    findings.aim(
        f"{candidate}, AnoPLe's frame ÷ PromptAD's, median of {repeat} pairs,", percentile(ratios, 50), AIM, ""
    )


def inspect(detector: Detector, frame: Array8) -> Floats:
    """Inspect a frame.

    Args:
        detector: The detector with the product's recipe.
        frame: The frame, uint8 RGB [H,W,3].

    Returns:
        Its map, float32 [400,400].
    """
    return detector.predict(frame).map


def conditioned(recipe: Recipe, graph: str, conditions: Conditions) -> Recipe:
    """Return the recipe as AnoPLe would make it, for the prompted graph with this id.

    Args:
        recipe: A PromptAD recipe for the plain graph.
        graph: The id of the prompted graph.
        conditions: The inputs of the prompted graph besides the views.
    """
    header = msgspec.structs.replace(recipe.header, version=PROMPTED_VERSION, method="anople", graph=graph)
    return dataclasses.replace(recipe, header=header, conditions=conditions)
