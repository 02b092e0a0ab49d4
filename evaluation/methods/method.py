"""The protocol of methods: what a method is given, what fitting it yields, and how the table describes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features, Floats
from goodparts.runtime.recipe.calibrate import Encode
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import PromptLearner, Prototypes
from goodparts.trainer.promptad.settings import PromptADSettings, promptad_settings
from goodparts.trainer.settings import Protocol

Score = Callable[[Features], tuple[Floats, Floats]]
"""Features of B views → image scores [B] and patch scores [B,h,w]; higher is more anomalous."""


class LearnedPrompts(NamedTuple):
    """The prototypes at the end of learning, and after every step where the task records steps."""

    prototypes: Prototypes
    steps: Sequence[Prototypes] = ()


def no_large_shots(together: bool) -> Mapping[str, tuple[str, Array8]]:  # noqa: ARG001
    """Return nothing: the task has no photos at twice the encoder's size."""
    return {}


@dataclass(frozen=True, eq=False)
class PromptTask:
    """One product to learn prompts for, and the prompts that were learned for it so far.

    backbone opens the backbone, and features returns torch's features of the k photos; both are called only by methods
    that need them. text is the product in words. category is the name by which a benchmark object's list of defects is
    found. record_steps keeps the prototypes after every step of learning.

    large_shots returns, by category, its text and its k photos at twice the encoder's size, uint8 [k,2S,2S,3]: of every
    category that has k photos if its argument is true, otherwise of this category only.
    """

    backbone: Callable[[], Backbone]
    features: Callable[[], Features]
    text: str
    category: str
    seed: int
    record_steps: bool = False
    protocol: Protocol = "clean"
    large_shots: Callable[[bool], Mapping[str, tuple[str, Array8]]] = no_large_shots
    _learned: dict[str, LearnedPrompts] = field(default_factory=dict, repr=False)

    def prompts(self, name: str, learn: Callable[[PromptTask], LearnedPrompts]) -> Prototypes:
        """Return the prototypes of this name, which `learn` learns on the first call."""
        if name not in self._learned:
            self._learned[name] = learn(self)
        return self._learned[name].prototypes

    def steps(self, name: str) -> Sequence[Prototypes]:
        """Return the recorded prototypes of this name after every step; none if it has not been learned in steps."""
        return self._learned[name].steps if name in self._learned else ()

    def with_prompts(self, name: str, prototypes: Prototypes) -> PromptTask:
        """Return the same task as if learning had ended with these prototypes."""
        return dataclasses.replace(self, record_steps=False, _learned={name: LearnedPrompts(prototypes)})

    def with_features(self, features: Callable[[], Features]) -> PromptTask:
        """Return the same task with another encoder's features; nothing is learned yet."""
        return dataclasses.replace(self, features=features, _learned={})

    def run(self, learner: PromptLearner) -> LearnedPrompts:
        """Run all steps of a learner."""
        steps: list[Prototypes] = []

        def record(numbers: range) -> Iterable[int]:
            for number in numbers:
                yield number
                steps.append(learner.prototypes())

        return LearnedPrompts(learner.learn(record if self.record_steps else iter), steps)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a method is fitted to.

    features are of the k photos as the measured backend encodes them, and views are the photos, uint8 [k,S,S,3]. encode
    is the backend's encoder. task learns prompts. deployed tells whether scores come from the runtime's scorer, as on
    the line, or from scoring.py. encode_prompted encodes views with conditions through the engine's prompted graph; it
    is None where there is no such graph.
    """

    features: Features
    views: Array8
    encode: Encode
    task: PromptTask
    deployed: bool = True
    encode_prompted: Callable[..., Features] | None = None


@dataclass(frozen=True)
class FittedMethod:
    """A method after fitting.

    threshold is the image score from which the method rejects, or None where it states none. encode encodes photos
    where what the method learned changes how they are encoded; otherwise it is None.
    """

    score: Score
    threshold: float | None = None
    encode: Encode | None = None


@dataclass(frozen=True, eq=False)
class OwnEncoder:
    """An encoder that only one method has, and no engine.

    name is what a report names as the backend. weights is a digest of the weights that it runs besides the backbone's.
    """

    name: str
    encode: Encode
    weights: str = ""


OpenEncoder = Callable[[Backbone], OwnEncoder]
"""Opens a method's own encoder. Methods with the same function share the encoder."""


def clean_settings(**changes: Any) -> PromptADSettings:
    """Return PromptAD's settings of the clean protocol."""
    return promptad_settings("clean", **changes)


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    fit fits the method to photos, and raises SettingsError where it cannot. prompts is the name of the prompts that it
    learns, or None. needs_shots is false for a method that learns from no photos.
    open_encoder opens the encoder that the method needs and no engine has: such a method runs only through torch.
    tune returns the same row with other settings, given by name; None if the method has none. settings checks given
    settings, and returns all of them. together tells whether the method learns from the photos of all categories.
    conditions returns the shapes, by name, of what the method learns as inputs of a prompted graph. Where an engine's
    prompted graph reads exactly these, the method does not need open_encoder. It raises SettingsError for a backbone
    that has no such graph.
    official tells whether PromptAD's released code has the method, so that its protocol applies.
    """

    title: str
    fit: Callable[[TrainingData], FittedMethod]
    prompts: str | None = None
    needs_shots: bool = True
    open_encoder: OpenEncoder | None = None
    tune: Callable[..., Method] | None = None
    settings: Callable[..., msgspec.Struct] = clean_settings
    together: bool = False
    conditions: Callable[[Backbone], Mapping[str, tuple[int, ...]]] | None = None
    official: bool = False
