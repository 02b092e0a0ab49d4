"""PromptAD with one set of prompts for all categories; AnoPLe's tables compare it with one AnoPLe model for all.

The prefixes and the learnable suffixes are shared. Each category's prompts contain the category's text, and each
category has its own prototypes. The losses are the mean over the categories.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import msgspec
import torch
from goodparts.runtime.core.scoring import Features
from goodparts.trainer.anople.model import halved
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import Losses, PromptLearner, Prototypes
from goodparts.trainer.promptad.settings import PromptADSettings
from goodparts.trainer.promptad.suffixes import GENERIC
from torch import Tensor

from .method import LearnedPrompts, PromptTask


class SharedPromptLearner(PromptLearner):
    """Learns prompts that several products share.

    Args:
        backbone: The backbone.
        products: Each product's text and the features of its shots; at least one product.
        settings: The settings of PromptAD.
        seed: The seed of learning.
    """

    def __init__(
        self, backbone: Backbone, products: Sequence[tuple[str, Features]], settings: PromptADSettings, seed: int
    ) -> None:
        (text, features), *others = products
        super().__init__(backbone, features, text, GENERIC, settings, seed)
        self._others = [
            PromptLearner(backbone, features, text, GENERIC, settings, seed, initial=self.tasks)
            for text, features in others
        ]

    def losses(self) -> list[Losses]:
        """Return the losses of both levels (image and patch), as the mean over the products."""
        of_products = [super().losses(), *(other.losses() for other in self._others)]
        return [
            Losses(
                _mean(loss.contrastive for loss in level),
                _mean(loss.margin for loss in level),
                _mean(loss.alignment for loss in level),
            )
            for level in zip(*of_products, strict=True)
        ]

    def of_products(self) -> list[Prototypes]:
        """Return the current prototypes of each product."""
        return [self.prototypes(), *(other.prototypes() for other in self._others)]


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


KEPT_PROMPTS = 12
"""The number of results that are kept for other categories."""
_PROMPTS: OrderedDict[str, dict[str, Prototypes]] = OrderedDict()


def learn_together(task: PromptTask, settings: PromptADSettings) -> LearnedPrompts:
    """Learn prompts for all categories that have enough photos; results are kept for the other categories.

    Args:
        task: The task of one category.
        settings: The settings of PromptAD.

    Returns:
        The prompts of the task's category.
    """
    backbone, shots = task.backbone(), task.large_shots(True)
    digest = hashlib.sha256(msgspec.json.encode([backbone.encoder.weights, settings, task.seed, *shots]))
    for text, views in shots.values():
        digest.update(text.encode() + views.tobytes())

    def learn() -> dict[str, Prototypes]:
        products = [(text, backbone.encode(halved(views))) for text, views in shots.values()]
        learner = SharedPromptLearner(backbone, products, settings, task.seed)
        learner.learn()
        return dict(zip(shots, learner.of_products(), strict=True))

    return LearnedPrompts(_learn_once(digest.hexdigest(), learn)[task.category])


def _learn_once(digest: str, learn: Callable[[], dict[str, Prototypes]]) -> dict[str, Prototypes]:
    if digest not in _PROMPTS:
        _PROMPTS[digest] = learn()
        if len(_PROMPTS) > KEPT_PROMPTS:
            _PROMPTS.popitem(last=False)
    _PROMPTS.move_to_end(digest)
    return _PROMPTS[digest]
