"""Methods of prompts and memory, which a recipe holds and the runtime scores: PromptAD, its parts, CoOp, V-V CLIP."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from goodparts.export.text import make_text_features
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scorer import Scorer
from goodparts.runtime.core.scoring import Features, Floats, Learned, prompt_scores, score
from goodparts.runtime.recipe.calibrate import FALSE_REJECT_RATE, Encode
from goodparts.runtime.recipe.memory import fit_memory
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.ensemble import ensemble
from goodparts.trainer.promptad.learner import PromptLearner, Prototypes, resolve_temperature
from goodparts.trainer.promptad.settings import CLEAN_TEMPERATURE, PromptADSettings, promptad_settings
from goodparts.trainer.promptad.suffixes import GENERIC, OBJECTS

from .coop import CoOp
from .method import FittedMethod, LearnedPrompts, Method, OpenEncoder, PromptTask, TrainingData
from .multi_promptad import learn_together

Prompts = Literal["generic", "objects", "no manual", "untrained", "together", "coop", "ensemble", "taught"]
"""The kinds of prompts."""
RELEASED: tuple[Prompts, ...] = ("generic", "objects", "no manual")
"""Prompts that PromptAD's released code has."""
TUNABLE: tuple[Prompts, ...] = (*RELEASED, "untrained", "together")
"""Prompts that PromptAD's settings describe."""
_AFTER_LEARNING = ("fusion", "image_maximum", "memory_share", "poses")
"""Settings that do not change how prompts are learned. Methods that differ only in these settings share prompts."""


@dataclass(frozen=True)
class PromptsAndMemory:
    """A method that fuses prompts with a memory of good patches.

    Attributes:
        prompts: The kind of prompts; None for the memory only.
        changes: Settings that differ from those of the task's protocol.
    """

    prompts: Prompts | None
    changes: Mapping[str, Any]

    @property
    def prompts_name(self) -> str | None:
        """The name of the prompts, or None. Methods with the same name share their prompts."""
        if self.prompts is None:
            return None
        changed = {name: value for name, value in sorted(self.changes.items()) if name not in _AFTER_LEARNING}
        return ",".join([self.prompts, *(f"{name}={value}" for name, value in changed.items())])

    def fit(self, data: TrainingData) -> FittedMethod:
        """Learn the prompts, and remember the patches of the photos as the measured backend encodes them.

        Args:
            data: The photos to learn from.

        Returns:
            The fitted method, with a threshold.

        Raises:
            SettingsError: A setting is out of range, or the category has no published list of defects.
        """
        task = data.task
        row_settings = promptad_settings(task.protocol, **self.changes)
        if self.prompts_name is None:
            nothing = np.zeros((2, data.features.global_.shape[-1]), np.float32)
            prototypes, temperature, residual_weight = Prototypes(nothing, nothing), CLEAN_TEMPERATURE, 0.0
        else:
            prototypes = task.prompts(self.prompts_name, partial(self._learn_prompts, row_settings=row_settings))
            temperature = resolve_temperature(row_settings, task.backbone().logit_scale)
            residual_weight = task.backbone().residual_weight
        learned = Learned(
            prototypes.image, prototypes.pixel, (), temperature, row_settings.image_maximum,
            fusion=row_settings.fusion, residual_weight=residual_weight,
        )  # fmt: skip
        return fit_with_memory(
            data, learned, data.features, data.encode, share=row_settings.memory_share, poses=row_settings.poses,
            deployed=data.deployed,
        )  # fmt: skip

    def _learn_prompts(self, task: PromptTask, row_settings: PromptADSettings) -> LearnedPrompts:
        if self.prompts == "ensemble":
            return learn_ensemble(task)
        if self.prompts == "taught":
            return LearnedPrompts(_encode_generic_part(task.backbone()))
        if self.prompts == "coop":
            return task.run(CoOp(task.backbone(), task.features(), task.text, task.seed))
        if self.prompts == "together":
            return learn_together(task, row_settings)
        suffixes = self._suffixes(task.category)
        learner = PromptLearner(task.backbone(), task.features(), task.text, suffixes, row_settings, task.seed)
        return LearnedPrompts(learner.prototypes()) if self.prompts == "untrained" else task.run(learner)

    def _suffixes(self, category: str) -> tuple[str, ...]:
        """Return the manual anomaly suffixes; raise SettingsError for a category without a published list."""
        if self.prompts == "no manual":
            return ()
        if self.prompts in ("generic", "untrained"):
            return GENERIC
        if category not in OBJECTS:
            raise SettingsError(f"{category} is no benchmark object: it has no published list of defects")
        return GENERIC + OBJECTS[category]


def fit_with_memory(
    data: TrainingData,
    learned: Learned,
    features: Features,
    encode: Encode,
    *,
    share: float = 1.0,
    poses: bool = False,
    deployed: bool,
) -> FittedMethod:
    """Add the memory of the photos to learned prompts, and calibrate the threshold, as for a recipe.

    Args:
        data: The photos to learn from.
        learned: The learned prompts, without a memory.
        features: The photos' features, from `encode`.
        encode: Encodes further views.
        share: The share of patches that the memory keeps, above 0 and up to 1.
        poses: Whether the memory also holds the photos rotated by quarters and mirrored.
        deployed: Whether the runtime's scorer is used; otherwise scoring.py is.

    Returns:
        The fitted method, with a threshold.
    """
    memory = fit_memory(learned, features, data.views, 1, encode, share=share, poses=poses)
    learned = dataclasses.replace(
        learned,
        banks=tuple(bank.astype(np.float32) for bank in memory.banks),
        shot_of_row=memory.shot_of_row,
        margins=memory.margins,
    )
    score_features = Scorer(learned, data.features.grid) if deployed else partial(score, learned=learned)

    def score_views(features: Features) -> tuple[Floats, Floats]:
        scores = score_features(features)
        return scores.image, scores.grid

    return FittedMethod(score_views, memory.calibration.image.threshold(FALSE_REJECT_RATE))


def prompts_and_memory(
    title: str, prompts: Prompts | None, open_encoder: OpenEncoder | None = None, **changes: Any
) -> Method:
    """Return a row of the table.

    Args:
        title: The row's title for readers.
        prompts: The kind of prompts; None for the memory only.
        open_encoder: Opens the encoder that the row needs and no engine has, or None.
        changes: Settings that differ from those of the protocol.
    """
    method = PromptsAndMemory(prompts, changes)
    tunable = prompts is None or prompts in TUNABLE
    return Method(
        title,
        method.fit,
        method.prompts_name,
        open_encoder=open_encoder,
        tune=partial(prompts_and_memory, title, prompts, open_encoder, **changes) if tunable else None,
        together=prompts == "together",
        official=open_encoder is None and (prompts is None or prompts in RELEASED),
    )


def zero_shot(title: str, open_encoder: OpenEncoder | None = None) -> Method:
    """Return the row of the prompt ensemble without a memory, which needs no photo.

    Args:
        title: The row's title for readers.
        open_encoder: Opens the encoder that the row needs and no engine has, or None.
    """
    return Method(title, _fit_zero_shot, "ensemble", needs_shots=False, open_encoder=open_encoder)


def _fit_zero_shot(data: TrainingData) -> FittedMethod:
    prototypes = data.task.prompts("ensemble", learn_ensemble)

    def score_views(features: Features) -> tuple[Floats, Floats]:
        grid = prompt_scores(features.local, prototypes.pixel, CLEAN_TEMPERATURE)
        return prompt_scores(features.global_, prototypes.image, CLEAN_TEMPERATURE), grid.reshape(-1, *features.grid)

    return FittedMethod(score_views)


def learn_ensemble(task: PromptTask) -> LearnedPrompts:
    """Return the prompt ensemble of the product's text, which is encoded once and not learned in steps.

    Args:
        task: The product.
    """
    return LearnedPrompts(_encode_ensemble(task.backbone(), task.text))


@functools.lru_cache(maxsize=1)
def _encode_ensemble(backbone: Backbone, text: str) -> Prototypes:
    return ensemble(backbone.text, text)


@functools.lru_cache(maxsize=1)
def _encode_generic_part(backbone: Backbone) -> Prototypes:
    """Return the prototypes that every recipe of `goodparts teach` has with an engine of this backbone."""
    prototypes = make_text_features(backbone).prototypes()
    return Prototypes(prototypes, prototypes)
