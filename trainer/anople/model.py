"""Everything that AnoPLe learns, in one torch module for frozen towers: the coupled prompts and the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from goodparts.runtime.core.preprocess import Array8, resize
from torch import Tensor, nn

from ..clip.backbone import Backbone
from ..clip.vv_tower import VVTower
from .decoder import Decoder
from .prompts import CoupledPrompts, PromptedText
from .settings import AnoPLeSettings
from .tower import PromptedTower


@dataclass(frozen=True, eq=False)
class Subject:
    """A product to learn.

    Attributes:
        text: The product in words.
        shots: [k, 2S, 2S, 3], uint8, RGB: the shots at twice the encoder's side S.
    """

    text: str
    shots: Array8


class Model(nn.Module):
    """The prompts and the decoder with their initial values, and the frozen towers that they are learned for.

    Args:
        backbone: The backbone with the frozen towers, whose image tower has to be a ViT.
        subjects: The products.
        settings: The method's settings.
        seed: The seed of the initial values.

    Raises:
        BackboneError: The image tower is no ViT.
        SettingsError: A product's text does not fit into the text tower.
    """

    def __init__(self, backbone: Backbone, subjects: Sequence[Subject], settings: AnoPLeSettings, seed: int) -> None:
        super().__init__()
        visual = backbone.visual
        self._tower = PromptedTower(visual, settings.recompute)  # frozen, not a submodule
        assert isinstance(visual, VVTower)  # PromptedTower accepts no other tower
        levels = prompt_levels(backbone, visual, settings)
        with torch.no_grad():
            averages = [
                self._tower.average(torch.from_numpy(halved(subject.shots)).to(backbone.device), levels)
                for subject in subjects
            ]
        self.prompts = CoupledPrompts(backbone.text, torch.stack(averages).mean(dim=0), settings, seed)
        generator = torch.Generator().manual_seed(seed + 1)
        self.decoder = Decoder(visual.out_width, visual.tap_widths, visual.grid, generator)
        if settings.decoder == "none":
            self.decoder.requires_grad_(False)
        self.to(backbone.device)
        self.grid = visual.grid
        self._text = PromptedText(
            backbone.text, [subject.text for subject in subjects], self.prompts.of_text().shape[1]
        )

    def text(self) -> Tensor:
        """Return each product's text features, [products, 2, D], l2-normalised: normal and anomalous."""
        return self._text(self.prompts.of_text())

    def forward(self, views: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        """Encode views.

        Args:
            views: [V, S, S, 3], uint8, RGB.
            places: [V], int64: 0 for a whole photo, 1 to 4 for its tiles.

        Returns:
            Global [V, D], decoded patches [V, P, D], and memory [V, P, W] for each tap, all l2-normalised.
        """
        image, local, *taps = self.encode(views, places)
        return image, self.decoder(local, *taps), *taps

    def encode(self, views: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        """Encode views without the decoder.

        Args:
            views: [V, S, S, 3], uint8, RGB.
            places: [V], int64: 0 for a whole photo, 1 to 4 for its tiles.

        Returns:
            Global [V, D], the local path's patches [V, P, D], and memory [V, P, W] for each tap, all l2-normalised. All
            but the first are the decoder's inputs.
        """
        return self._tower(views, self.prompts.of_visual(), self.prompts.prefix[places])


def prompt_levels(backbone: Backbone, visual: VVTower, settings: AnoPLeSettings) -> int:
    """Return the number of layers that get prompts: `depth`, but at most the number of the shallower tower's layers.

    Args:
        backbone: The backbone, whose text tower is read.
        visual: The backbone's image tower.
        settings: The method's settings.
    """
    return min(settings.depth, len(visual.blocks), len(backbone.text.text["transformer"].resblocks))


def halved(shots: Array8) -> Array8:
    """Return shots at half their side, [k, S, S, 3], as the encoder reads them whole.

    Args:
        shots: [k, 2S, 2S, 3], uint8, RGB.
    """
    side = shots.shape[1] // 2
    return np.stack([resize(shot, (side, side)) for shot in shots])
