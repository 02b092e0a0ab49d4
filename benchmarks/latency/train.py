"""Seconds per training step of both levels, compared with the released PromptAD code (peers/released_promptad.py).

The peer trains the image and the pixel level one after the other, so its time per step is the sum of both. Our learner
and the peer run in fp32 with PromptAD's official settings on one model. Their losses of the first step must be equal.
"""

from __future__ import annotations

import argparse
import copy
import logging
from collections.abc import Callable

import numpy as np
from goodparts.evaluation.report.report import Findings
from goodparts.trainer.promptad.learner import PromptLearner
from goodparts.trainer.promptad.settings import promptad_settings
from goodparts.trainer.promptad.suffixes import GENERIC

from .. import options
from ..backbones import open_backbone
from ..peers.released_promptad import ReleasedLoop
from ..synthetic import make_views
from ..timing import check_same, in_this_process, interleave

log = logging.getLogger(__name__)

REPEAT = 2
SHOTS = 4
PRODUCT = "metal nut"
LOSS_TOLERANCE = 1e-3
AIM = 5.0  # times faster

PEER = "released PromptAD loop"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_backbone(parser)
    options.add_repeat(parser, REPEAT)


def measure(*, backbone: str, repeat: int) -> Findings:
    findings = Findings()
    log.info("building %s", backbone)
    model = open_backbone(backbone)
    views = make_views(model.encoder, SHOTS)
    official = promptad_settings("official")
    learner = PromptLearner(model, model.encode(views), PRODUCT, GENERIC, official)
    image_prompts, pixel_prompts = (copy.deepcopy(prompts) for prompts in learner.tasks)
    image_peer = ReleasedLoop(model, "image", PRODUCT, views, image_prompts, official)
    pixel_peer = ReleasedLoop(model, "pixel", PRODUCT, views, pixel_prompts, official)

    def ours() -> list[list[float]]:
        return [[term.item() for term in (loss.contrastive, loss.margin, loss.alignment)] for loss in learner.step()]

    # The first step warms up both.
    difference = float(np.abs(np.subtract(ours(), [image_peer.step(), pixel_peer.step()])).max())
    check_same("losses of the first step", difference, LOSS_TOLERANCE)
    log.info("losses of the first step agree to %.0e", difference)
    contenders: dict[str, Callable[[], object]] = {
        "ours": ours,
        "image": image_peer.step,
        "pixel": pixel_peer.step,
        "shots": lambda: model.encode(views),
    }
    by_turns = {name: in_this_process(call) for name, call in contenders.items()}
    timings = interleave(by_turns, repeat, warmup=0)
    peer = timings["image"].median + timings["pixel"].median
    findings.add("training step, both levels", timings["ours"].median, "s", PEER, peer)
    findings.add(f"encoding {SHOTS} shots, once", timings["shots"].median, "s")
    for level in ("image", "pixel"):
        findings.add(f"{PEER}: step of the {level} level", timings[level].median, "s")
    findings.aim("training step, times faster than the peer", peer / timings["ours"].median, AIM, "", at_least=True)
    return findings
