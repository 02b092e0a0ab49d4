"""What a method learns from, and what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features
from goodparts.runtime.recipe.calibrate import Encode
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import PromptLearner, Prototypes
from goodparts.trainer.promptad.settings import PromptADSettings, promptad_settings
from goodparts.trainer.settings import Protocol

from .patch_statistics import Score

Teach = Callable[["Product", str], Prototypes]
"""Learns a product's prompts, by the name that they have in its traces."""


@dataclass(frozen=True, eq=False)
class Product:
    """What prompts are learned from: a backbone, and torch's features of the k photos; the product in words, and the
    category's name, by which a benchmark object's list of defects is found. trace: keep the prototypes after every step
    in `traces`, by the prompts' names. large: the category's text and its k photos at twice the encoder's size, uint8
    [k,2S,2S,3], by its name; asked for all, every category's that has as many."""

    backbone: Callable[[], Backbone]
    features: Callable[[], Features]
    text: str
    category: str
    seed: int
    trace: bool = False
    protocol: Protocol = "clean"
    large: Callable[[bool], Mapping[str, tuple[str, Array8]]] = lambda together: {}  # noqa: ARG005
    traces: dict[str, list[Prototypes]] = field(default_factory=dict, repr=False)
    _known: dict[str, Prototypes] = field(default_factory=dict, repr=False)

    def prompts(self, name: str, teach: Teach) -> Prototypes:
        """The prototypes of this name, learned when first asked for."""
        if name not in self._known:
            self._known[name] = teach(self, name)
        return self._known[name]

    def as_of(self, name: str, prototypes: Prototypes) -> Product:
        """The same product, as if learning had ended with these."""
        return dataclasses.replace(self, trace=False, traces={}, _known={name: prototypes})

    def through(self, features: Callable[[], Features]) -> Product:
        """The same product as another encoder sees it; nothing is learned yet."""
        return dataclasses.replace(self, features=features, traces={}, _known={})

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

    deployed: whether scores come from the runtime's scorer, as on the line, or from scoring.py. prompted: encodes views
    through the engine's prompted graph, with conditions, for a method that learns them and where it reads them.
    """

    features: Features
    views: Array8
    encode: Encode
    product: Product
    deployed: bool = True
    prompted: Callable[..., Features] | None = None


@dataclass(frozen=True)
class Judge:
    """A method that has learned; threshold: the image score from which it rejects, None where it states none; encode:
    of photos, where what it learned changes how they are encoded."""

    score: Score
    threshold: float | None = None
    encode: Encode | None = None


@dataclass(frozen=True, eq=False)
class Pass:
    """An encoder of a method's own, which no engine has. name: what a report says that the method ran through; weights:
    of what it runs besides the backbone's, a digest."""

    name: str
    encode: Encode
    weights: str = ""


Own = Callable[[Backbone], Pass]
"""Makes an encoder of a method's own; the same function is the same encoder."""


def clean(**changes: Any) -> PromptADSettings:
    """PromptAD's settings of the clean protocol."""
    return promptad_settings("clean", **changes)


@dataclass(frozen=True)
class Method:
    """A row. prompts: the name of those that it learns, None for none; shots: whether it learns from photos at all;
    own: makes the encoder that the method needs where no engine has it, so it runs through torch alone.
    tune: the same row with other settings, by name; None if it has none. settings: checks some of them, and has all.
    together: whether it learns from the photos of all categories.
    conditions: name → shape of what it learns as inputs of a prompted graph, by the backbone; where an engine's reads
    just these it needs no encoder of its own. SettingsError where none could.
    official: whether the released code of PromptAD has it, so that its protocol means something."""

    title: str
    learn: Callable[[Lesson], Judge]
    prompts: str | None = None
    shots: bool = True
    own: Own | None = None
    tune: Callable[..., Method] | None = None
    settings: Callable[..., msgspec.Struct] = clean
    together: bool = False
    conditions: Callable[[Backbone], Mapping[str, tuple[int, ...]]] | None = None
    official: bool = False
