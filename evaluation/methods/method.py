"""The interface of methods: a method's training data, the fitted method, and the method's row of the table."""

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
"""Takes the features of B views, and returns image scores [B] and patch scores [B,h,w]; higher is more anomalous."""


class LearnedPrompts(NamedTuple):
    """Learned prototypes.

    Attributes:
        prototypes: The prototypes at the end of learning.
        steps: The prototypes after every step, if the task records steps.
    """

    prototypes: Prototypes
    steps: Sequence[Prototypes] = ()


def no_large_shots(together: bool) -> Mapping[str, tuple[str, Array8]]:  # noqa: ARG001
    """Return nothing: the task has no photos at twice the encoder's size.

    Args:
        together: Ignored.
    """
    return {}


@dataclass(frozen=True, eq=False)
class PromptTask:
    """A product to learn prompts for, and the prompts that were learned for it so far.

    Attributes:
        backbone: Opens the backbone; called only by methods that need it.
        features: Returns torch's features of the k photos; called only by methods that need them.
        text: The product in words.
        category: The category's name, by which a benchmark object's list of defects is found.
        seed: The seed of learning.
        record_steps: Whether the prototypes after every step of learning are kept.
        protocol: The protocol whose settings are used: `clean` or `official`.
        large_shots: Returns, by category, the category's text and k photos at twice the encoder's size, uint8
            [k,2S,2S,3]. With True it returns every category that has k photos, with False only the task's category.
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
        """Return the prototypes of this name, which are learned on the first call.

        Args:
            name: The name of the prompts.
            learn: Learns the prompts.
        """
        if name not in self._learned:
            self._learned[name] = learn(self)
        return self._learned[name].prototypes

    def steps(self, name: str) -> Sequence[Prototypes]:
        """Return the recorded prototypes after every step; none if these prompts were not learned in steps.

        Args:
            name: The name of the prompts.
        """
        return self._learned[name].steps if name in self._learned else ()

    def with_prompts(self, name: str, prototypes: Prototypes) -> PromptTask:
        """Return the same task as if learning had ended with these prototypes.

        Args:
            name: The name of the prompts.
            prototypes: The prototypes.
        """
        return dataclasses.replace(self, record_steps=False, _learned={name: LearnedPrompts(prototypes)})

    def with_features(self, features: Callable[[], Features]) -> PromptTask:
        """Return the same task with another encoder's features, for which nothing is learned yet.

        Args:
            features: Returns the features of the k photos.
        """
        return dataclasses.replace(self, features=features, _learned={})

    def run(self, learner: PromptLearner) -> LearnedPrompts:
        """Run all steps of a learner.

        Args:
            learner: The learner.

        Returns:
            The learned prototypes.
        """
        steps: list[Prototypes] = []

        def record(numbers: range) -> Iterable[int]:
            for number in numbers:
                yield number
                steps.append(learner.prototypes())

        return LearnedPrompts(learner.learn(record if self.record_steps else iter), steps)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The data that a method is fitted to.

    Attributes:
        features: The k photos as the measured backend encodes them.
        views: The photos, uint8 [k,S,S,3], RGB.
        encode: Encodes further views on the measured backend.
        task: Learns prompts.
        deployed: Whether scores come from the runtime's scorer, as on a line; otherwise they come from scoring.py.
        encode_prompted: Encodes views with conditions through the engine's prompted graph; None if there is no such
            graph.
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

    Attributes:
        score: Scores the features of views.
        threshold: The image score from which the method rejects; None if it has no threshold.
        encode: Encodes views, if the method has learned to encode them in another way; otherwise None.
    """

    score: Score
    threshold: float | None = None
    encode: Encode | None = None


@dataclass(frozen=True, eq=False)
class OwnEncoder:
    """An encoder that belongs to methods and to no engine.

    Attributes:
        name: The backend's name in reports.
        encode: Encodes views uint8 [B,S,S,3].
        weights: A digest of the encoder's weights, if it has other weights than the backbone's; otherwise empty.
    """

    name: str
    encode: Encode
    weights: str = ""


OpenEncoder = Callable[[Backbone], OwnEncoder]
"""Opens a method's own encoder. Methods with the same function share the encoder."""


def clean_settings(**changes: Any) -> PromptADSettings:
    """Return PromptAD's settings of the clean protocol.

    Args:
        changes: Settings that differ from the protocol's.
    """
    return promptad_settings("clean", **changes)


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    Attributes:
        title: The row's title for readers.
        fit: Fits the method to photos; raises SettingsError if it cannot.
        prompts: The name of the prompts that it learns, or None.
        needs_shots: Whether the method learns from photos.
        open_encoder: Opens the encoder that the method needs and no engine has. Such a method runs only through torch.
            None if the method runs on an engine.
        tune: Returns the same row with other settings, given by name; None if the method has no settings.
        settings: Checks given settings, and returns all settings.
        together: Whether the method learns from the photos of all categories.
        conditions: Returns the shapes, by name, of the conditions that the method learns for a prompted graph, and
            raises SettingsError for a backbone without such a graph. If an engine's prompted graph reads exactly these
            conditions, open_encoder is not needed. None for methods without conditions.
        official: Whether PromptAD's released code has the method, so that its protocol applies.
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
