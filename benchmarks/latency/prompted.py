"""A frame by an AnoPLe recipe beside one by a PromptAD recipe on the same engine, for every precision and backend here.

Both go from uint8 RGB 1280×1024 to an Inspection with its map, by turns; one call of each untimed before every timed
one, for a line changes its product seldom.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from goodparts.evaluation.report.report import Findings, Options
from goodparts.export.prompted import add_prompted
from goodparts.runtime import Detector, Engine
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats
from goodparts.runtime.recipe.header import PROMPTED_VERSION
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.anople.encoder import PromptedEncoder
from goodparts.trainer.anople.settings import DEFAULT

from ..synthetic import make_recipe, open_backbone
from ..timing import here, interleave, percentile
from .precision_backends import Pair, find_pairs, open_or_make

log = logging.getLogger(__name__)

REPEAT = 100
SHOTS = 4
FRAME = (1024, 1280)
AIM = 1.25
"""AnoPLe's frame ÷ PromptAD's."""


def measure(options: Options) -> Findings:
    findings = Findings()
    backbone = open_backbone(options.backbone)
    encoder = PromptedEncoder(backbone, DEFAULT)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.engine or Path(temporary) / "engine"
        open_or_make(backbone, folder, options.precisions)
        spec = add_prompted(folder, backbone, encoder)
        del backbone
        conditions, rng = encoder.example(), np.random.default_rng(0)
        frame = rng.integers(0, 256, (*FRAME, 3), np.uint8)
        for pair in find_pairs(folder, spec, options.precisions, findings.remarks, graph="prompted"):
            log.info("timing %s", pair)
            compare(findings, folder, pair, conditions, frame, options.repeat or REPEAT)
    return findings


def compare(findings: Findings, folder: Path, pair: Pair, conditions: Conditions, frame: Array8, repeat: int) -> None:
    """Rows of one pair: both medians, and the median of the ratios of frames that were timed one after the other."""
    engine = Engine.open(folder, backend=pair.backend, precision=pair.precision)
    plain = make_recipe(engine.encoder, engine.graph_id(), SHOTS)
    prompted = conditioned(plain, engine.graph_id(conditions), conditions)
    detectors = {"PromptAD": Detector(engine, plain), "AnoPLe": Detector(engine, prompted)}
    calls = {name: here(functools.partial(inspect, detector, frame)) for name, detector in detectors.items()}
    timings = interleave(calls, repeat, settle=1)
    ours, peer = timings["AnoPLe"].seconds, timings["PromptAD"].seconds
    for rank in (50, 90):
        found, theirs = (percentile(seconds, rank) * 1e3 for seconds in (ours, peer))
        findings.add(f"{pair}, AnoPLe, p{rank}", found, "ms", "PromptAD", theirs)
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    findings.aim(f"{pair}, AnoPLe's frame ÷ PromptAD's, median of {repeat} pairs,", percentile(ratios, 50), AIM, "")


def inspect(detector: Detector, frame: Array8) -> Floats:
    """A frame's map."""
    return detector.predict(frame).map


def conditioned(recipe: Recipe, graph: str, conditions: Conditions) -> Recipe:
    """The recipe as AnoPLe would have made it."""
    header = msgspec.structs.replace(recipe.header, version=PROMPTED_VERSION, method="anople", graph=graph)
    return dataclasses.replace(recipe, header=header, conditions=conditions)
