"""What AnoPLe learns, in one torch module: coupled prompts and the decoder, for frozen towers."""

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
    """A product to learn: its text, and its shots at twice the encoder's size, uint8 [k,2S,2S,3]."""

    text: str
    shots: Array8


class Model(nn.Module):
    """All that is learned, and the frozen towers it is learned for."""

    def __init__(self, backbone: Backbone, subjects: Sequence[Subject], settings: AnoPLeSettings, seed: int) -> None:
        """Draw what is learned as it is before the first step.

        Raises:
            BackboneError: The image tower is no ViT.
            SettingsError: A product's text does not fit into the text tower.
        """
        super().__init__()
        visual = backbone.visual
        self._tower = PromptedTower(visual, settings.recompute)  # frozen, and none of the model's own parameters
        assert isinstance(visual, VVTower)  # PromptedTower takes no other
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
        """Return the text features of each product, l2-normalised [products,2,D]: normal, anomalous."""
        return self._text(self.prompts.of_text())

    def forward(self, views: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        """Encode views uint8 [V,S,S,3] at places int [V]: global [V,D], decoded patches [V,P,D], memories [V,P,W]."""
        image, local, *taps = self.encode(views, places)
        return image, self.decoder(local, *taps), *taps

    def encode(self, views: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        """Encode views as forward does, but for the decoder: its inputs are the second output and those after it."""
        return self._tower(views, self.prompts.of_visual(), self.prompts.prefix[places])


def prompt_levels(backbone: Backbone, visual: VVTower, settings: AnoPLeSettings) -> int:
    """Return the number of layers that get prompts: the depth, or the layers of the shallower tower."""
    return min(settings.depth, len(visual.blocks), len(backbone.text.text["transformer"].resblocks))


def halved(shots: Array8) -> Array8:
    """Return shots uint8 [k,2S,2S,3] as the encoder sees them whole, [k,S,S,3]."""
    side = shots.shape[1] // 2
    return np.stack([resize(shot, (side, side)) for shot in shots])
