"""What methods are fitted to: a category's shots, as the plan's encoders see them."""

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
    """Draw the photos to learn from; raise SettingsError where there are too few.

    Where the released evaluation is reproduced, they are those of its list.
    """
    photos: Sequence[Path] = split.train
    if plan.official:
        photos = read_shots(plan.official, split.category, photos, count)
    return choose_shots(photos, count, seed)


class TrainingShots:
    """Makes training data of one draw of shots; without shots, for methods that learn from no photos."""

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
        """Return the training data for a group of methods; groups without own encoders share the learned prompts."""
        task = self._task
        if group.own_encoder:
            task = task.with_features(partial(group.encoded.features, self._paths))
        prompted = group.backend.prompted
        return TrainingData(
            # Without shots, a method still reads the shapes of features, which are those of any photo.
            features=group.encoded.features(self._paths or (self._split.test[0].path,)),
            views=self._encoders.photos.views(self._paths),
            encode=group.encoded.encode,
            task=task,
            deployed=group.backend.name != TORCH,
            encode_prompted=None if prompted is None else prompted.encode,
        )

    def _large_shots(self, together: bool) -> dict[str, tuple[str, Array8]]:
        """Return text and shots at twice the encoder's size: of all categories that have so many, or of this one."""
        large_shots = {}
        for category in self._plan.data.categories if together else (self._split.category,):
            split = self._plan.data.split(category)
            try:
                shots = choose_shots(split.train, len(self._paths), self._seed)
                large_shots[category] = split.text, self._encoders.large_photos.views(shots.paths)
            except SettingsError as error:
                self._result.remark(f"{category}: left out of what is learned together: {error}")
        return large_shots
