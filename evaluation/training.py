"""The data that methods are fitted to: a category's shots, encoded by the plan's encoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import Array8

from .datasets import ChosenShots, Split, choose_shots
from .encoders import CategoryEncoders, MethodGroup
from .methods.method import PromptTask, TrainingData
from .official import read_shots
from .plan import TORCH, EvaluationPlan
from .results import CategoryResult


def draw_shots(plan: EvaluationPlan, split: Split, count: int, seed: int) -> ChosenShots:
    """Draw the photos to learn from; if the released evaluation is reproduced, take them from its list.

    Args:
        plan: The plan of the evaluation.
        split: The category.
        count: The number of photos.
        seed: The seed of the draw.

    Returns:
        The photos.

    Raises:
        SettingsError: There are fewer different photos than `count`, or the list has no such line or an unknown index.
    """
    photos: Sequence[Path] = split.train
    if plan.official:
        photos = read_shots(plan.official, split.category, photos, count)
    return choose_shots(photos, count, seed)


class TrainingShots:
    """Makes training data of one draw of shots, or of no shots for methods that learn from no photos.

    Args:
        plan: The plan of the evaluation.
        split: The category.
        encoders: The category's open encoders.
        result: Receives a remark for each category that is left out when categories are learned together.
        shots: The photos to learn from, or None.
        seed: The seed of learning.
    """

    def __init__(
        self,
        plan: EvaluationPlan,
        split: Split,
        encoders: CategoryEncoders,
        result: CategoryResult,
        shots: ChosenShots | None,
        seed: int,
    ) -> None:
        self._plan = plan
        self._split = split
        self._encoders = encoders
        self._result = result
        self._paths = shots.paths if shots else ()
        self._seed = seed
        self._task = PromptTask(
            backbone=plan.backbone,
            features=partial(encoders.torch.features, self._paths),
            text=split.text,
            category=split.category,
            seed=seed,
            record_steps=plan.oracle,
            protocol="official" if plan.official else "clean",
            large_shots=self._large_shots,
        )

    def data(self, group: MethodGroup) -> TrainingData:
        """Return the training data for a group of methods.

        Groups that use the plan's backends share the learned prompts.

        Args:
            group: The methods and their encoder.
        """
        task = self._task
        if group.own_encoder:
            task = task.with_features(partial(group.encoded.features, self._paths))
        prompted = group.backend.prompted
        return TrainingData(
            # Without shots, a method still reads the features' shapes, which are the same for every photo.
            features=group.encoded.features(self._paths or (self._split.test[0].path,)),
            views=self._encoders.photos.views(self._paths),
            encode=group.encoded.encode,
            task=task,
            deployed=group.backend.name != TORCH,
            encode_prompted=None if prompted is None else prompted.encode,
        )

    def _large_shots(self, together: bool) -> dict[str, tuple[str, Array8]]:
        """Return texts and shots at twice the encoder's size, by category.

        With `together`, all categories that have enough photos are included, otherwise only this category.
        """
        large_shots = {}
        for category in self._plan.data.categories if together else (self._split.category,):
            split = self._plan.data.split(category)
            try:
                shots = choose_shots(split.train, len(self._paths), self._seed)
                large_shots[category] = split.text, self._encoders.large_photos.views(shots.paths)
            except SettingsError as error:
                self._result.remark(f"{category}: left out where categories are learned together: {error}")
        return large_shots
