"""Rows of prompts and memory, which a recipe holds and the runtime scores: PromptAD, its ablations, CoOp, V-V CLIP."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scorer import Scorer
from goodparts.runtime.core.scoring import Features, Floats, Learned, prompt_scores, score
from goodparts.runtime.recipe.calibrate import FALSE_REJECT_RATE
from goodparts.runtime.recipe.memory import COMBINED, fit_memory
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.ensemble import ensemble
from goodparts.trainer.promptad.learner import PromptLearner, Prototypes, resolve_temperature
from goodparts.trainer.promptad.settings import CLEAN_TEMPERATURE, PromptADSettings, promptad_settings
from goodparts.trainer.promptad.suffixes import GENERIC, OBJECTS

from .coop import CoOp
from .method import Judge, Lesson, Method, Own, Product

Prompts = Literal["generic", "objects", "no manual", "coop", "ensemble"]
TUNABLE: tuple[Prompts, ...] = ("generic", "objects", "no manual")
"""Those whose learning follows PromptAD's settings."""
_AFTER_LEARNING = ("fusion", "image_maximum", "memory_share")
"""Settings that prompts do not depend on: rows that differ in them alone learn once."""


@dataclass(frozen=True)
class Branches:
    """A row: which prompts, None for none, and what it changes of its protocol's settings."""

    prompts: Prompts | None
    changes: Mapping[str, Any]

    @property
    def name(self) -> str | None:
        """Of its prompts: rows of one name share them."""
        if self.prompts is None:
            return None
        changed = {name: value for name, value in sorted(self.changes.items()) if name not in _AFTER_LEARNING}
        return ",".join([self.prompts, *(f"{name}={value}" for name, value in changed.items())])

    def learn(self, lesson: Lesson) -> Judge:
        """As a recipe holds it; the memory belongs to the backend that encoded the photos."""
        product = lesson.product
        chosen = promptad_settings(product.protocol, **self.changes)
        if self.prompts is None or self.name is None:
            nothing = np.zeros((2, lesson.features.global_.shape[-1]), np.float32)
            prototypes, temperature = Prototypes(nothing, nothing), CLEAN_TEMPERATURE
        else:
            prototypes = product.prompts(self.name, partial(TEACHERS[self.prompts], chosen=chosen))
            scale = product.backbone().logit_scale if isinstance(chosen.temperature, str) else 0.0
            temperature = resolve_temperature(chosen, scale)
        learned = Learned(
            prototypes.image, prototypes.pixel, (), temperature, chosen.image_maximum,
            combination=COMBINED[chosen.fusion],
        )  # fmt: skip
        memory = fit_memory(
            learned, lesson.features, lesson.views, 1, lesson.encode, fusion=chosen.fusion, share=chosen.memory_share
        )
        learned = dataclasses.replace(
            learned,
            banks=tuple(bank.astype(np.float32) for bank in memory.banks),
            shot_of_row=memory.shot_of_row,
            scales=memory.scales if chosen.fusion == "balanced" else None,
        )
        run = Scorer(learned, lesson.features.grid) if lesson.deployed else partial(score, learned=learned)

        def judge(features: Features) -> tuple[Floats, Floats]:
            scores = run(features)
            return scores.image, scores.grid

        return Judge(judge, memory.calibration.image.threshold(FALSE_REJECT_RATE))


def row(title: str, prompts: Prompts | None, own: Own | None = None, **changes: Any) -> Method:
    """A row of branches; changes: of its protocol's settings."""
    branches = Branches(prompts, changes)
    official = own is None and (prompts is None or prompts in TUNABLE)
    tune = partial(row, title, prompts, own, **changes) if prompts in TUNABLE else None
    return Method(title, branches.learn, branches.name, own=own, tune=tune, official=official)


def zero_shot(title: str, own: Own | None = None) -> Method:
    """The prompt ensemble alone, which no photo is needed for."""
    return Method(title, _learn_nothing, "ensemble", shots=False, own=own)


def _learn_nothing(lesson: Lesson) -> Judge:
    prototypes = lesson.product.prompts("ensemble", teach_ensemble)

    def judge(features: Features) -> tuple[Floats, Floats]:
        grid = prompt_scores(features.local, prototypes.pixel, CLEAN_TEMPERATURE)
        return prompt_scores(features.global_, prototypes.image, CLEAN_TEMPERATURE), grid.reshape(-1, *features.grid)

    return Judge(judge)


def _teach(product: Product, name: str, chosen: PromptADSettings, suffixes: tuple[str, ...] = GENERIC) -> Prototypes:
    learner = PromptLearner(product.backbone(), product.features(), product.text, suffixes, chosen, product.seed)
    return product.learn(name, learner)


def _teach_objects(product: Product, name: str, chosen: PromptADSettings) -> Prototypes:
    if product.category not in OBJECTS:
        raise SettingsError(f"{product.category} is no benchmark object: it has no published list of defects")
    return _teach(product, name, chosen, GENERIC + OBJECTS[product.category])


def _teach_coop(product: Product, name: str, chosen: PromptADSettings) -> Prototypes:  # noqa: ARG001
    return product.learn(name, CoOp(product.backbone(), product.features(), product.text, product.seed))


def teach_ensemble(product: Product, name: str, chosen: PromptADSettings | None = None) -> Prototypes:  # noqa: ARG001
    return _ensemble_of(product.backbone(), product.text)


@functools.lru_cache(maxsize=1)
def _ensemble_of(backbone: Backbone, text: str) -> Prototypes:
    return ensemble(backbone.text, text)


TEACHERS: Mapping[Prompts, Callable[..., Prototypes]] = {
    "generic": _teach,
    "objects": _teach_objects,
    "no manual": partial(_teach, suffixes=()),
    "coop": _teach_coop,
    "ensemble": teach_ensemble,
}
"""How prompts come about, by name."""
