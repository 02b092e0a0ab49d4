"""Rows of AnoPLe, a reconstruction, and of MaPLe: what they learn changes how photos are encoded: torch alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from goodparts.runtime.calibrate import FALSE_REJECT_RATE
from goodparts.runtime.memory import Memory, fit_memory
from goodparts.runtime.preprocess import Array8
from goodparts.runtime.scoring import Features, Floats, Learned, score
from goodparts.trainer.anople.learner import AnoPLeLearner, Subject
from goodparts.trainer.anople.settings import Settings, settings

from .clip_paths import plain
from .lesson import Judge, Lesson, Method

MAPLE: Mapping[str, Any] = {
    "coupling": "text-to-visual", "visual_tokens": 0, "start": "words", "decoder": "none",
    "prefix": "none", "alignment_weight": 0.0,
}  # fmt: skip
"""MaPLe (Khattak et al., CVPR 2023) as settings of AnoPLe: visual prompts are projections of the text's alone."""


def anople(title: str, *, together: bool = False, **changes: Any) -> Method:
    """A row; together: one model for all categories; changes: of AnoPLe's settings."""
    return Method(
        title,
        partial(_learn, together=together, chosen=settings(**changes)),
        own=plain,
        tune=lambda **more: anople(title, together=together, **{**changes, **more}),
        settings=settings,
        together=together,
    )


def remember(learner: AnoPLeLearner, number: int, shots: Array8) -> tuple[Learned, Memory]:
    """What scoring needs of product `number` once its shots uint8 [k,S,S,3] are learned, and its memory."""
    chosen, prototypes = learner.settings, learner.prototypes()[number]
    learned = Learned(prototypes, prototypes, (), chosen.temperature, chosen.image_maximum)
    memory = fit_memory(learned, learner.encode(shots), shots, 1, learner.encode, fusion=chosen.fusion)
    scales = memory.scales if chosen.fusion == "balanced" else None
    banks = tuple(bank.astype(np.float32) for bank in memory.banks)
    return dataclasses.replace(learned, banks=banks, photos=memory.photos, scales=scales), memory


def _learn(lesson: Lesson, together: bool, chosen: Settings) -> Judge:
    product = lesson.product
    known = product.large(together)
    subjects = [Subject(*one) for one in known.values()]
    learner = _finish(AnoPLeLearner(product.backbone(), subjects, chosen, product.seed))
    learned, memory = remember(learner, list(known).index(product.category), lesson.views)

    def judge(features: Features) -> tuple[Floats, Floats]:
        scores = score(features, learned)
        return scores.image, scores.grid

    return Judge(judge, memory.calibration.image.threshold(FALSE_REJECT_RATE), learner.encode)


_LAST: dict[str, AnoPLeLearner] = {}


def _finish(learner: AnoPLeLearner) -> AnoPLeLearner:
    """Learn; the last one is kept, for the next category may ask for the same."""
    if learner.digest not in _LAST:
        learner.learn()
        _LAST.clear()
        _LAST[learner.digest] = learner
    return _LAST[learner.digest]
