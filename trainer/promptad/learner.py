"""PromptAD's learning: it learns prompts for one product from the features of a few photos of good parts.

A hundred steps of SGD move a few token vectors, so that the features of good parts come nearer to the prototype of the
normal prompts than to any anomaly prompt. The image tower is frozen, so the photos are encoded once. The prompts of
both levels go through the text tower together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Features, Floats
from torch import Tensor

from ..clip.backbone import Backbone
from ..steps import Progress, flushed_denormals
from . import losses
from .prompts import PackedLayout, PromptEncoder, Prompts, TextFeatures
from .settings import PROTOCOLS, PromptADSettings
from .suffixes import GENERIC


def resolve_temperature(settings: PromptADSettings, logit_scale: float) -> float:
    """Return the multiplier t of the cosine (docs/promptad.md, D10).

    Args:
        settings: The method's settings.
        logit_scale: The logarithm of CLIP's temperature, as the checkpoint stores it.
    """
    if isinstance(settings.temperature, str):
        return math.exp(logit_scale) if settings.temperature == "exp" else logit_scale
    return settings.temperature


def lay_out(product: str, suffixes: tuple[str, ...], settings: PromptADSettings, context_length: int) -> PackedLayout:
    """Return the layout of a product's prompts.

    Args:
        product: The product in words.
        suffixes: What can be wrong with the product, as templates with {} for the product.
        settings: The method's settings.
        context_length: The largest number of tokens that the text tower reads.

    Raises:
        SettingsError: There is no anomaly prompt, or one that does not fit into `context_length` tokens.
    """
    if not suffixes and not settings.learned_suffixes:
        raise SettingsError("no anomaly prompt is left: give suffixes, or learned_suffixes of at least 1")
    return PackedLayout(
        product,
        suffixes,
        prefix_length=settings.prefix_length,
        learned=settings.learned_suffixes,
        suffix_length=settings.suffix_length,
        suffix_place=settings.suffix_place,
        context_length=context_length,
    )


@dataclass(frozen=True)
class Prototypes:
    """The learned prototypes: normal and anomalous for each level, [2, D], float32, l2-normalised.

    Attributes:
        image: The prototypes at image level.
        pixel: The prototypes at pixel level.
    """

    image: Floats
    pixel: Floats


@dataclass(frozen=True)
class Losses:
    """The losses of one task in one step, tensors of one number.

    Attributes:
        contrastive: Eq. 12.
        margin: Eq. 13, the explicit anomaly margin.
        alignment: Eq. 15 before its weight λ.
    """

    contrastive: Tensor
    margin: Tensor
    alignment: Tensor


class PromptLearner:
    """Learns the prompts of both levels for one product: `learn` takes all steps.

    Attributes:
        tasks: The prompts at image level and at pixel level.
        temperature: The multiplier t of the cosine.

    Args:
        backbone: The backbone with the frozen text tower.
        features: The features of the shots.
        product: The product in words.
        suffixes: What can be wrong with the product, as templates with {} for the product.
        settings: The method's settings.
        seed: The seed of the initial prompts.
        initial: Prompts at image level and at pixel level to start from; None draws them.

    Raises:
        SettingsError: There is no anomaly prompt, or one that does not fit into the text tower.
    """

    def __init__(
        self,
        backbone: Backbone,
        features: Features,
        product: str,
        suffixes: tuple[str, ...] = GENERIC,
        settings: PromptADSettings = PROTOCOLS["clean"],
        seed: int = 0,
        initial: tuple[Prompts, Prompts] | None = None,
    ) -> None:
        device = backbone.device
        self.settings = settings
        self.temperature = resolve_temperature(settings, backbone.logit_scale)
        self._encode = PromptEncoder(
            backbone.text, lay_out(product, suffixes, settings, backbone.text.context_length), settings.pairing
        )
        if initial is None:
            generator = torch.Generator().manual_seed(seed)

            def draw(prefixes: int) -> Prompts:
                shape = (prefixes, settings.prefix_length, settings.learned_suffixes, settings.suffix_length)
                return Prompts.initial((*shape, backbone.text.width), generator, device)

            initial = draw(settings.image_prefixes), draw(settings.pixel_prefixes)
        self.tasks = initial
        self._targets = tuple(torch.from_numpy(part).to(device) for part in (features.global_, features.local))
        parameters = [parameter for task in self.tasks for parameter in task.parameters()]
        self._optimiser = torch.optim.SGD(
            parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimiser, T_max=settings.steps, eta_min=settings.final_lr
        )

    def text_features(self) -> list[TextFeatures]:
        """Return the text features of the current prompts, at image level and at pixel level."""
        return self._encode(*self.tasks)

    def targets(self) -> tuple[Tensor, ...]:
        """Return the shots' features that the prompts are learned from.

        They are [k, D] at image level and [k, P, D] at pixel level, l2-normalised.
        """
        return self._targets

    def losses(self) -> list[Losses]:
        """Return the losses at image level and at pixel level, with gradients."""
        settings = self.settings
        task_losses = []
        for z, text in zip(self.targets(), self.text_features(), strict=True):
            prototypes = text.prototypes()
            task_losses.append(
                Losses(
                    losses.contrastive(z, text, prototypes, self.temperature),
                    losses.margin(z, prototypes, settings.margin, settings.margin_distance, settings.margin_axis),
                    losses.alignment(text),
                )
            )
        return task_losses

    def step(self) -> list[Losses]:
        """Take one step of SGD for both levels.

        Returns:
            The losses before the step, at image level and at pixel level.
        """
        task_losses = self.losses()
        weight = self.settings.alignment_weight
        # The levels share no parameter, so the gradient of the sum is each level's own.
        total = torch.stack([loss.contrastive + loss.margin + weight * loss.alignment for loss in task_losses]).sum()
        self._optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._schedule.step()
        return task_losses

    def learn(self, progress: Progress = iter) -> Prototypes:
        """Take all steps.

        Args:
            progress: Shows how many steps are done.

        Returns:
            The prototypes after the last step; the released code takes the step that is best on the test data
            (docs/promptad.md, D13).

        Raises:
            SettingsError: Learning diverged.
        """
        with flushed_denormals():
            for _ in progress(range(self.settings.steps)):
                self.step()
        return self.prototypes()

    def prototypes(self) -> Prototypes:
        """Return the prototypes of the current prompts.

        Raises:
            SettingsError: Learning diverged.
        """
        with torch.no_grad():
            image, pixel = (text.prototypes().float().cpu().numpy() for text in self.text_features())
        if not (np.isfinite(image).all() and np.isfinite(pixel).all()):
            raise SettingsError(f"learning diverged at a learning rate of {self.settings.lr}: lower --lr")
        return Prototypes(image, pixel)
