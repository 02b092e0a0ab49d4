"""AnoPLe beside PromptAD and single branches, and with each of its parts left out, on the demo backbone through torch.

On drawn parts of kinds that its CLIP never saw, and on real photos (--data: folders in MVTec's layout).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from goodparts.runtime.preprocess import Array8
from goodparts.runtime.scoring import Branches, score_branches
from goodparts.trainer.anople.learner import AnoPLeLearner, Subject
from goodparts.trainer.anople.settings import Settings, settings
from goodparts.trainer.backbone import Backbone

from .accuracy import Bench, Trial
from .anople_rows import remember
from .products import Product, gather_sets
from .report import Findings, Options

log = logging.getLogger(__name__)

LINES = 2
POOL, GOOD, BAD = 8, 24, 16
SHOTS = 4
QUICK: Mapping[str, Any] = {"steps": 30}
"""Of a whole table on two cores; a product of one's own takes the defaults."""
TOGETHER = 15
"""Steps of one model for all products, per product."""
WITHOUT: Mapping[str, dict[str, Any]] = {
    "text prompts only": {"coupling": "none", "visual_tokens": 0, "prefix": "none"},
    "visual prompts only": {"coupling": "none", "text_tokens": 0},
    "no alignment": {"alignment_weight": 0.0},
    "with tiles": {"tiles": True, "batch": 2},
    "no decoder": {"decoder": "none"},
}
"""What each of its parts is worth: measured on the first line or draw of a set."""


def measure(options: Options) -> Findings:
    findings, backbone = Findings(), Backbone.open("demo")
    sets = gather_sets(findings, options.data, backbone.encoder.image_size, lines=LINES, pool=POOL, good=GOOD, bad=BAD)
    alone = {}
    for name, products in sets.items():
        log.info("%s", name)
        alone[name] = compare(findings, name, products, backbone)
    log.info("one model for all")
    compare_together(findings, {name: products[0] for name, products in sets.items()}, alone, backbone)
    return findings


def compare_together(
    findings: Findings, products: Mapping[str, Product], alone: Mapping[str, np.ndarray], backbone: Backbone
) -> None:
    """Rows "<set>, AnoPLe, one model for all"; peer: the same draw learned alone."""
    chosen = settings(**{**QUICK, "steps": TOGETHER * len(products)})
    subjects = [Subject(product.text, product.large[:SHOTS]) for product in products.values()]
    learner = AnoPLeLearner(backbone, subjects, chosen)
    learner.learn()
    for number, (name, product) in enumerate(products.items()):
        found = judge(learner, number, product, product.pool[:SHOTS]).aurocs("balanced")
        add(findings, f"{name}, AnoPLe, one model for all", np.array(found), alone[name], "AnoPLe, same draw")


def compare(findings: Findings, name: str, products: list[Product], backbone: Backbone) -> np.ndarray:
    """Rows "<set>, <row>: image | pixel AUROC", means over lines or draws; peer: PromptAD, or all of AnoPLe. Returns
    AnoPLe's of the first line or draw."""
    trials = [trial for trial, _ in Bench(products, backbone).trials(SHOTS)][:LINES]
    peer = np.mean([trial.aurocs("balanced") for trial in trials], axis=0)
    for branch in ("memory", "prompt"):
        add(findings, f"{name}, PromptAD, {branch} only", np.mean([t.aurocs(branch) for t in trials], axis=0), peer)
    draws = [(trial.product, seed if len(products) == 1 else 0) for seed, trial in enumerate(trials)]
    learned = [learn(backbone, product, draw, settings(**QUICK)) for product, draw in draws]
    whole = np.mean([trial.aurocs("balanced") for trial in learned], axis=0)
    add(findings, f"{name}, AnoPLe", whole, peer)
    for branch in ("memory", "prompt"):
        add(findings, f"{name}, AnoPLe, {branch} only", np.mean([t.aurocs(branch) for t in learned], axis=0), peer)
    first = np.array(learned[0].aurocs("balanced"))
    for text, changes in WITHOUT.items():
        found = learn(backbone, *draws[0], settings(**{**QUICK, **changes})).aurocs("balanced")
        add(findings, f"{name}, AnoPLe, {text}", np.array(found), first, "AnoPLe, same draw")
    return first


def add(findings: Findings, label: str, found: np.ndarray, peer: np.ndarray, peer_name: str = "PromptAD") -> None:
    for level, value, other in zip(("image", "pixel"), found, peer, strict=True):
        findings.add(f"{label}: {level}", float(value), "AUROC", peer_name, float(other), higher=True)


def learn(backbone: Backbone, product: Product, draw: int, chosen: Settings) -> Trial:
    """A product learned from the shots of this number."""
    used = slice(draw * SHOTS, (draw + 1) * SHOTS)
    learner = AnoPLeLearner(backbone, [Subject(product.text, product.large[used])], chosen, draw)
    learner.learn()
    return judge(learner, 0, product, product.pool[used])


def judge(learner: AnoPLeLearner, number: int, product: Product, shots: Array8) -> Trial:
    """The learner's product of this number, with the shots that it was learned from, on the product's tests."""
    learned, memory = remember(learner, number, shots)
    parts = [score_branches(learner.encode(some), learned) for some in np.array_split(product.tests, 4)]
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Branches)
    }
    return Trial(product, learned, memory.scales, memory.calibration, Branches(**joined))
