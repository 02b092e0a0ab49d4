"""Rows of AnoPLe, a reconstruction, and of MaPLe: what they learn changes how photos are encoded.

Through an engine's prompted graph where what is learned are the conditions that it reads, else through torch alone.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from goodparts.runtime.core.scorer import Scorer
from goodparts.runtime.core.scoring import Features, Floats, Learned, score
from goodparts.runtime.recipe.calibrate import FALSE_REJECT_RATE, Encode
from goodparts.runtime.recipe.memory import fit_memory
from goodparts.trainer.anople.encoder import PromptedEncoder, conditions_of
from goodparts.trainer.anople.learner import AnoPLeLearner
from goodparts.trainer.anople.model import Subject
from goodparts.trainer.anople.settings import AnoPLeSettings, anople_settings
from goodparts.trainer.clip.backbone import Backbone

from .clip_paths import plain
from .method import Judge, Lesson, Method

MAPLE: Mapping[str, Any] = {
    "coupling": "text-to-visual", "visual_tokens": 0, "start": "words", "decoder": "none",
    "prefix": "none", "alignment_weight": 0.0,
}  # fmt: skip
"""MaPLe (Khattak et al., CVPR 2023) as settings of AnoPLe: visual prompts are projections of the text's alone."""


def anople(title: str, *, together: bool = False, **changes: Any) -> Method:
    """A row; together: one model for all categories; changes: of AnoPLe's settings."""
    chosen = anople_settings(**changes)
    return Method(
        title,
        partial(_learn, together=together, chosen=chosen),
        own=plain,
        tune=lambda **more: anople(title, together=together, **{**changes, **more}),
        settings=anople_settings,
        together=together,
        conditions=partial(_conditions, chosen=chosen),
    )


def _conditions(backbone: Backbone, chosen: AnoPLeSettings) -> dict[str, tuple[int, ...]]:
    return PromptedEncoder(backbone, chosen).shapes


def _learn(lesson: Lesson, together: bool, chosen: AnoPLeSettings) -> Judge:
    product = lesson.product
    known = product.large(together)
    subjects = [Subject(*one) for one in known.values()]
    learner = _finish(AnoPLeLearner(product.backbone(), subjects, chosen, product.seed))
    encode: Encode = learner.encode
    if lesson.prompted is not None:
        encode = partial(lesson.prompted, conditions=conditions_of(learner.model))
    prototypes = learner.prototypes()[list(known).index(product.category)]
    learned = Learned(prototypes, prototypes, (), chosen.temperature, chosen.image_maximum)
    memory = fit_memory(learned, encode(lesson.views), lesson.views, 1, encode, fusion=chosen.fusion)
    scales = memory.scales if chosen.fusion == "balanced" else None
    banks = tuple(bank.astype(np.float32) for bank in memory.banks)
    learned = dataclasses.replace(learned, banks=banks, shot_of_row=memory.shot_of_row, scales=scales)
    run = partial(score, learned=learned) if lesson.prompted is None else Scorer(learned, lesson.features.grid)

    def judge(features: Features) -> tuple[Floats, Floats]:
        scores = run(features)
        return scores.image, scores.grid

    return Judge(judge, memory.calibration.image.threshold(FALSE_REJECT_RATE), encode)


KEPT = 12
_FINISHED: OrderedDict[str, AnoPLeLearner] = OrderedDict()


def _finish(learner: AnoPLeLearner) -> AnoPLeLearner:
    """Learn; the last ones are kept, for another backend or the next category may ask for the same."""
    if learner.digest not in _FINISHED:
        learner.learn()
        _FINISHED[learner.digest] = learner
        if len(_FINISHED) > KEPT:
            _FINISHED.popitem(last=False)
    _FINISHED.move_to_end(learner.digest)
    return _FINISHED[learner.digest]
