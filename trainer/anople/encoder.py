"""AnoPLe's image encoder as a function of a picture and of the learned tensors, for an engine's prompted graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.errors import SettingsError
from torch import Tensor, nn
from torch.func import functional_call

from ..clip.backbone import Backbone
from ..clip.vv_tower import VVTower
from ..conditioned_encoder import ConditionedEncoder
from .decoder import Decoder
from .model import Model, prompt_levels
from .settings import AnoPLeSettings
from .tower import PromptedTower

PROMPTS, PREFIX, DECODER = "prompts", "prefix", "decoder."
"""Names of the conditions: `prompts` are the visual prompts [J, n, W], `prefix` is the whole photo's prefix [1, W], and
the names of the decoder's weights begin with `decoder.`."""


class PromptedEncoder(ConditionedEncoder):
    """AnoPLe's image encoder; its conditions are the visual prompts, a whole photo's prefix and the decoder's weights.

    Args:
        backbone: The backbone, whose image tower has to be a ViT.
        settings: The method's settings.

    Raises:
        BackboneError: The image tower is no ViT.
        SettingsError: The settings ask for something that the prompted graph cannot do.
    """

    def __init__(self, backbone: Backbone, settings: AnoPLeSettings) -> None:
        super().__init__()
        tower = PromptedTower(backbone.visual)
        self.visual = cast("VVTower", backbone.visual)  # PromptedTower accepts no other tower
        for name, served in (("memory", "prompted"), ("prefix", "tower")):
            if getattr(settings, name) != served:
                raise SettingsError(
                    f"{name} {getattr(settings, name)!r}: an engine's prompted graph has only {name} {served!r}; "
                    "`goodparts evaluate` measures the other values through torch"
                )
        tokens = settings.visual_tokens + settings.text_tokens * (settings.coupling in ("both", "text-to-visual"))
        if not tokens:
            raise SettingsError(
                "visual_tokens 0, and no text prompts are projected into the image tower: the graph needs at least "
                "one token"
            )
        levels = prompt_levels(backbone, self.visual, settings)
        generator = torch.Generator().manual_seed(0)
        self._tower = tower
        # In a tuple, so that torch does not register its weights: `forward` replaces them by conditions.
        self._decoder = (ShiftedDecoder(self.visual.out_width, self.visual.tap_widths, self.visual.grid, generator),)
        self.shapes = {
            PROMPTS: (levels, tokens, self.visual.width),
            PREFIX: (1, self.visual.width),
            **{DECODER + name: tuple(weight.shape) for name, weight in self._decoder[0].named_parameters()},
        }

    def forward(self, image: Tensor, conditions: list[Tensor]) -> tuple[Tensor, ...]:
        named = dict(zip(self.shapes, conditions, strict=True))
        prefix = named[PREFIX].expand(image.shape[0], -1, -1)
        whole, local, *taps = self._tower(image, named[PROMPTS], prefix)
        weights = {name.removeprefix(DECODER): part for name, part in named.items() if name.startswith(DECODER)}
        return whole, functional_call(self._decoder[0], weights, (local, *taps)), *taps

    def example(self, seed: int = 0) -> Conditions:
        generator = torch.Generator().manual_seed(seed)

        def draw(name: str, shape: tuple[int, ...]) -> Tensor:
            # Prompts have their initial spread; the decoder's weights are large enough to change the patches.
            spread = shape[-2] ** -0.5 if name.startswith(DECODER) and len(shape) > 1 else 0.02
            return torch.randn(shape, generator=generator) * spread

        return Conditions({name: draw(name, shape).numpy() for name, shape in self.shapes.items()})


class ShiftedDecoder(Decoder):
    """The decoder with its depth-wise layers as products and sums of shifted grids.

    Some inference libraries do not accept a convolution's weights as an input.
    """

    @staticmethod
    def depthwise(grids: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows, columns = grids.shape[1:3]
        padded = nn.functional.pad(grids, (0, 0, 1, 1, 1, 1))
        above, here, below = (padded[:, row : row + rows] for row in range(3))
        total = bias
        for column, (top, middle, bottom) in enumerate(weight.unbind(1)):
            mixed = top * above + middle * here + bottom * below
            total = total + mixed[:, :, column : column + columns]
        return total


def conditions_of(model: Model) -> Conditions:
    """Return the learned tensors as the conditions that `PromptedEncoder` reads, in float32.

    Args:
        model: The model, whose prompts and decoder are read.
    """
    with torch.inference_mode():
        tensors: Mapping[str, Tensor] = {
            PROMPTS: model.prompts.of_visual(),
            PREFIX: model.prompts.prefix[0],
            **{DECODER + name: weight for name, weight in model.decoder.named_parameters()},
        }
        return Conditions({name: tensor.float().cpu().numpy() for name, tensor in tensors.items()})
