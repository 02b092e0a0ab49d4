"""The table of methods: what learns from a few good photos on one encoder's features, and how it scores others.

Those of branches (prompts, memory, or both) are what a recipe holds and the runtime scores; those of
patch statistics exist for comparison alone. All see the same photos through the same encoder.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from goodparts.runtime.calibrate import FALSE_REJECT_RATE, Encode
from goodparts.runtime.errors import SettingsError
from goodparts.runtime.memory import COMBINED, Fusion, fit_memory
from goodparts.runtime.preprocess import Array8
from goodparts.runtime.scorer import Scorer
from goodparts.runtime.scoring import Features, Floats, Learned, prompt_scores, score
from goodparts.trainer.backbone import Backbone
from goodparts.trainer.coop import NO_MARGIN, CoOp
from goodparts.trainer.ensemble import ensemble
from goodparts.trainer.promptad import CLEAN_TEMPERATURE, PROTOCOLS, PromptLearner, Prototypes, settings
from goodparts.trainer.suffixes import GENERIC, OBJECTS

from .patch_statistics import Fit, Score, fit_fastrecon, fit_padim, fit_patchcore, fit_spade

CLEAN = PROTOCOLS["clean"]
"""Of every row with prompts: they differ in their prompts and in what is combined alone."""


@dataclass(frozen=True, eq=False)
class Product:
    """What prompts are learned from: a backbone, and torch's features of the k photos; the product in words, and the
    category's name, by which a benchmark object's list of defects is found. trace: keep the prototypes after every step
    in `traces`, by the same names."""

    backbone: Callable[[], Backbone]
    features: Callable[[], Features]
    text: str
    category: str
    seed: int
    trace: bool = False
    traces: dict[str, list[Prototypes]] = field(default_factory=dict, repr=False)
    _known: dict[str, Prototypes] = field(default_factory=dict, repr=False)

    def prompts(self, name: str) -> Prototypes:
        """The prototypes that PROMPTS calls so, learned when first asked for."""
        if name not in self._known:
            self._known[name] = PROMPTS[name](self, name)
        return self._known[name]

    def as_of(self, name: str, prototypes: Prototypes) -> Product:
        """The same product, as if learning had ended with these."""
        return dataclasses.replace(self, trace=False, traces={}, _known={name: prototypes})

    def learn(self, name: str, learner: PromptLearner) -> Prototypes:
        """All steps; the last one counts."""
        after: list[Prototypes] = []

        def watch(steps: range) -> Iterable[int]:
            for step in steps:
                yield step
                after.append(learner.prototypes())

        learned = learner.learn(watch if self.trace else iter)
        self.traces[name] = after
        return learned


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a method learns from: the k photos as a backend encodes them, their views uint8 [k,S,S,3], and prompts.

    deployed: whether scores come from the runtime's scorer, as on the line, or from scoring.py.
    """

    features: Features
    views: Array8
    encode: Encode
    product: Product
    deployed: bool = True


@dataclass(frozen=True)
class Judge:
    """A method that has learned; threshold: the image score from which it rejects, None where it states none."""

    score: Score
    threshold: float | None = None


@dataclass(frozen=True)
class Method:
    """A row. prompts: which of PROMPTS it has, None for none; shots: whether it learns from photos at all."""

    title: str
    learn: Callable[[Lesson], Judge]
    prompts: str | None = None
    shots: bool = True


def _promptad(product: Product, name: str, suffixes: tuple[str, ...] = GENERIC, **changes: Any) -> Prototypes:
    learner = PromptLearner(
        product.backbone(), product.features(), product.text, suffixes, settings("clean", **changes), product.seed
    )
    return product.learn(name, learner)


def _with_objects(product: Product, name: str) -> Prototypes:
    if product.category not in OBJECTS:
        raise SettingsError(f"{product.category} is no benchmark object: it has no published list of defects")
    return _promptad(product, name, GENERIC + OBJECTS[product.category])


def _coop(product: Product, name: str) -> Prototypes:
    return product.learn(name, CoOp(product.backbone(), product.features(), product.text, product.seed))


@functools.lru_cache(maxsize=1)
def _ensemble(backbone: Backbone, text: str) -> Prototypes:
    return ensemble(backbone.text, text)


PROMPTS: Mapping[str, Callable[[Product, str], Prototypes]] = {
    "generic": _promptad,
    "objects": _with_objects,
    "no margin": partial(_promptad, margin=NO_MARGIN),
    "no manual": partial(_promptad, suffixes=()),
    "no learned": partial(_promptad, learned_suffixes=0),
    "coop": _coop,
    "ensemble": lambda product, _: _ensemble(product.backbone(), product.text),
}
"""How prompts come about, by name."""


def _branches(lesson: Lesson, prompts: str | None, fusion: Fusion) -> Judge:
    """Prompts and memory as a recipe holds them; the memory belongs to the backend that encoded the photos."""
    if prompts is None:
        nothing = np.zeros((2, lesson.features.global_.shape[-1]), np.float32)
        prototypes = Prototypes(nothing, nothing)
    else:
        prototypes = lesson.product.prompts(prompts)
    learned = Learned(
        prototypes.image, prototypes.pixel, (), CLEAN_TEMPERATURE, CLEAN.image_maximum, combination=COMBINED[fusion]
    )
    memory = fit_memory(learned, lesson.features, lesson.views, 1, lesson.encode, fusion=fusion)
    learned = dataclasses.replace(
        learned,
        banks=tuple(bank.astype(np.float32) for bank in memory.banks),
        photos=memory.photos,
        scales=memory.scales if fusion == "balanced" else None,
    )
    run = Scorer(learned, lesson.features.grid) if lesson.deployed else partial(score, learned=learned)

    def judge(features: Features) -> tuple[Floats, Floats]:
        scores = run(features)
        return scores.image, scores.grid

    return Judge(judge, memory.calibration.image.threshold(FALSE_REJECT_RATE))


def _zero_shot(lesson: Lesson, prompts: str) -> Judge:
    """Prompts alone, which no photo was needed for."""
    prototypes = lesson.product.prompts(prompts)

    def judge(features: Features) -> tuple[Floats, Floats]:
        grid = prompt_scores(features.local, prototypes.pixel, CLEAN_TEMPERATURE)
        return prompt_scores(features.global_, prototypes.image, CLEAN_TEMPERATURE), grid.reshape(-1, *features.grid)

    return Judge(judge)


def _statistics(lesson: Lesson, fit: Fit) -> Judge:
    return Judge(fit(lesson.features))


def _row(title: str, prompts: str | None, fusion: Fusion = "balanced") -> Method:
    return Method(title, partial(_branches, prompts=prompts, fusion=fusion), prompts)


def _compared(title: str, fit: Fit) -> Method:
    return Method(title, partial(_statistics, fit=fit))


METHODS: Mapping[str, Method] = {
    "memory": _row("memory only (PromptAD's VAD)", None, "memory"),
    "promptad": _row("PromptAD, generic suffixes", "generic"),
    "promptad-objects": _row("PromptAD, generic suffixes and the object's", "objects"),
    "promptad-paper": _row("PromptAD, raw scores fused", "generic", "paper"),
    "promptad-prompt": _row("PromptAD, prompts only (no VAD)", "generic", "prompt"),
    "promptad-no-margin": _row("PromptAD without the explicit margin (no EAM)", "no margin"),
    "promptad-no-manual": _row("PromptAD without manual anomaly prompts (no MAP)", "no manual"),
    "promptad-no-learned": _row("PromptAD without learnable anomaly prompts (no LAP)", "no learned"),
    "coop": _row("CoOp-style: no concatenation, no margin, no memory", "coop", "prompt"),
    "coop+": _row("CoOp-style with memory", "coop"),
    "vvclip": Method(
        "V-V CLIP, prompt ensemble, zero-shot", partial(_zero_shot, prompts="ensemble"), "ensemble", shots=False
    ),
    "vvclip+": _row("V-V CLIP, prompt ensemble, with memory", "ensemble"),
    "patchcore": _compared("PatchCore on the encoder's patches", fit_patchcore),
    "spade": _compared("SPADE on the encoder's patches", fit_spade),
    "padim": _compared("PaDiM on the encoder's patches, shrunk", fit_padim),
    "fastrecon": _compared("FastRecon on the encoder's patches", fit_fastrecon),
}
"""By the name that --method takes."""


def check_methods(names: list[str]) -> None:
    """SettingsError for a name that there is not."""
    for name in names:
        if name not in METHODS:
            raise SettingsError(f"--method {name}: there are {' '.join(METHODS)}")
