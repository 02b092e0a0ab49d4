"""AnoPLe, a reconstruction, and MaPLe: both learn tensors that change how photos are encoded.

They run through an engine's prompted graph if it reads the conditions that they learn, otherwise only through torch.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any

from goodparts.runtime.core.scoring import Learned
from goodparts.runtime.recipe.calibrate import Encode
from goodparts.trainer.anople.encoder import PromptedEncoder, conditions_of
from goodparts.trainer.anople.learner import AnoPLeLearner
from goodparts.trainer.anople.model import Subject
from goodparts.trainer.anople.settings import AnoPLeSettings, anople_settings
from goodparts.trainer.clip.backbone import Backbone

from .clip_encoders import plain_vit
from .method import FittedMethod, Method, TrainingData
from .prompts_and_memory import fit_with_memory

MAPLE: Mapping[str, Any] = {
    "coupling": "text-to-visual", "visual_tokens": 0, "start": "words", "decoder": "none",
    "prefix": "none", "alignment_weight": 0.0,
}  # fmt: skip
"""MaPLe (Khattak et al., CVPR 2023) as settings of AnoPLe: visual prompts are projections of the text prompts only."""


def anople(title: str, *, together: bool = False, **changes: Any) -> Method:
    """Return a row of the table.

    Args:
        title: The row's title for readers.
        together: Whether one model is learned for all categories.
        changes: Settings of AnoPLe that differ from the defaults.
    """
    row_settings = anople_settings(**changes)
    return Method(
        title,
        partial(_fit, together=together, row_settings=row_settings),
        open_encoder=plain_vit,
        tune=partial(anople, title, together=together, **changes),
        settings=anople_settings,
        together=together,
        conditions=partial(_conditions, row_settings=row_settings),
    )


def _conditions(backbone: Backbone, row_settings: AnoPLeSettings) -> dict[str, tuple[int, ...]]:
    return PromptedEncoder(backbone, row_settings).shapes


def _fit(data: TrainingData, together: bool, row_settings: AnoPLeSettings) -> FittedMethod:
    task = data.task
    large_shots = task.large_shots(together)
    subjects = [Subject(text, views) for text, views in large_shots.values()]
    learner = _learn_once(AnoPLeLearner(task.backbone(), subjects, row_settings, task.seed))
    encode: Encode = learner.encode
    if data.encode_prompted is not None:
        encode = partial(data.encode_prompted, conditions=conditions_of(learner.model))
    prototypes = learner.prototypes()[list(large_shots).index(task.category)]
    learned = Learned(
        prototypes, prototypes, (), row_settings.temperature, row_settings.image_maximum,
        fusion=row_settings.fusion, residual_weight=task.backbone().residual_weight,
    )  # fmt: skip
    fitted = fit_with_memory(
        data, learned, encode(data.views), encode, poses=row_settings.poses, deployed=data.encode_prompted is not None
    )
    return dataclasses.replace(fitted, encode=encode)


KEPT_LEARNERS = 12
"""The number of learners that are kept for other backends and categories."""
_LEARNERS: OrderedDict[str, AnoPLeLearner] = OrderedDict()


def _learn_once(learner: AnoPLeLearner) -> AnoPLeLearner:
    """Learn and return the learner, or return a kept learner with the same digest."""
    if learner.digest not in _LEARNERS:
        learner.learn()
        _LEARNERS[learner.digest] = learner
        if len(_LEARNERS) > KEPT_LEARNERS:
            _LEARNERS.popitem(last=False)
    _LEARNERS.move_to_end(learner.digest)
    return _LEARNERS[learner.digest]
