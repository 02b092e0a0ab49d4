"""Deep learnable prompts of both towers, and the text tower that reads them.

At each of the first J layers, P̃ᵗ = [Pᵗ ; f_v→t(Pᵛ)] and P̃ᵛ = [Pᵛ ; f_t→v(Pᵗ)]: a tower reads its own tokens, and
the other tower's tokens through a linear map (docs/anople.md, A1 to A3). No prompt depends on an image, so text is
encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from goodparts.runtime.core.errors import SettingsError
from torch import Tensor, nn

from ..clip.text_tower import INITIAL_SPREAD, TextTower, open_tokenizer, run_block
from .settings import AnoPLeSettings

ABNORMAL = "abnormal"
WORDS = "a photo of a"
VIEWS = 5
"""The number of views that have a prefix of their own: the whole photo and its four tiles."""


class CoupledPrompts(nn.Module):
    """The prompts of both towers, the linear maps between them, and the prefixes.

    Everything is drawn on the CPU, so that a seed gives the same numbers on every device.

    Attributes:
        text: [J, n_t, W_t], the text tower's own tokens.
        visual: [J, n_v, W_v], the visual tower's own tokens.
        prefix: [views, 1, W_v], or [views, 0, W_v] without a prefix; 5 views if the method trains on tiles, else 1.

    Args:
        text: The text tower.
        average: [J, W_v], the shots' average patch at the entry of each layer.
        settings: The method's settings.
        seed: The seed of the initial values.
    """

    def __init__(self, text: TextTower, average: Tensor, settings: AnoPLeSettings, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int, spread: float = INITIAL_SPREAD) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * spread)

        levels, visual_width = average.shape
        maps = levels if settings.projection == "layer" else 1
        self.text = draw(levels, settings.text_tokens, text.width)
        self.visual = draw(levels, settings.visual_tokens, visual_width)
        self.to_visual = draw(maps, text.width, visual_width, spread=text.width**-0.5)
        self.to_text = draw(maps, visual_width, text.width, spread=visual_width**-0.5)
        self.to_visual_bias = nn.Parameter(torch.zeros(maps, 1, visual_width))
        self.to_text_bias = nn.Parameter(torch.zeros(maps, 1, text.width))
        self.prefix = draw(VIEWS if settings.tiles else 1, int(settings.prefix == "tower"), visual_width)
        if settings.visual_start == "patches":
            self._start_beside(average.cpu()[:, None])
        if settings.start == "words":
            ids = torch.tensor(open_tokenizer().encode(WORDS)[: settings.text_tokens])
            with torch.no_grad():
                self.text[0, : len(ids)] = text.embed(ids.to(text.positional_embedding.device)).cpu()
        self._to_visual = settings.coupling in ("both", "text-to-visual")
        self._to_text = settings.coupling in ("both", "visual-to-text")

    @torch.no_grad()
    def _start_beside(self, patch: Tensor) -> None:
        """Add a patch, [J, 1, W_v], to the visual tokens, to the tokens projected from the text, and to the prefix.

        Prompts that resemble the patches hardly change the tower's features. The map to the text shrinks by as much as
        the visual tokens grow, so tokens projected into the text tower stay as large as randomly drawn tokens.
        """
        self.visual.add_(patch)
        self.to_visual_bias.add_(patch if len(self.to_visual_bias) == len(patch) else patch.mean(dim=0))
        self.prefix.add_(patch[0])
        if self.visual.numel():
            self.to_text.mul_(INITIAL_SPREAD / self.visual.square().mean().sqrt())

    def of_text(self) -> Tensor:
        """Return the prompts that the text tower reads, [J, n, W_t]."""
        if not self._to_text:
            return self.text
        return torch.cat([self.text, self.visual @ self.to_text + self.to_text_bias], dim=1)

    def of_visual(self) -> Tensor:
        """Return the prompts that the visual tower reads, [J, n, W_v]."""
        if not self._to_visual:
            return self.visual
        return torch.cat([self.visual, self.text @ self.to_visual + self.to_visual_bias], dim=1)


class PromptedText:
    """Encodes "[prompts] product." and "[prompts] abnormal product." for several products.

    Args:
        text: The text tower.
        products: The products in words.
        tokens: n, the number of prompts at each layer.

    Raises:
        SettingsError: A product's text does not fit into the text tower.
    """

    def __init__(self, text: TextTower, products: Sequence[str], tokens: int) -> None:
        tokenizer = open_tokenizer()
        rows = [
            [*tokenizer.encode(words), tokenizer.eot_token_id]
            for product in products
            for words in (f"{product}.", f"{ABNORMAL} {product}.")
        ]
        length = 1 + tokens + max(map(len, rows))
        if length > text.context_length:
            longest = max(products, key=len)
            raise SettingsError(
                f"a prompt for {longest[:40]!r} has {length} tokens, {text.context_length} fit: use a shorter "
                "product text or fewer prompts"
            )
        device = text.positional_embedding.device
        self._text = text
        self._tokens = tokens
        self._ends = torch.tensor([tokens + len(row) for row in rows], device=device)
        # The tower is causal, so tokens after [EOS] do not change the feature at [EOS].
        ids = torch.tensor([[tokenizer.sot_token_id] + [0] * tokens + row + [0] * (length - 1 - tokens - len(row))
                            for row in rows], device=device)  # fmt: skip
        self._embedding = text.embed(ids).detach()
        self._mask = torch.full((length, length), float("-inf"), device=device).triu(1)

    def __call__(self, prompts: Tensor) -> Tensor:
        """Encode prompts [J, n, W] as [products, 2, D], l2-normalised: normal and anomalous."""
        text, own = self._text, slice(1, 1 + self._tokens)
        tokens = self._place(self._embedding, prompts[0], own)
        tokens = tokens + text.positional_embedding[: tokens.shape[1]]
        for index, block in enumerate(text.text["transformer"].resblocks):
            if 0 < index < len(prompts):
                tokens = self._place(tokens, prompts[index], own)
            tokens = run_block(block, tokens, self._mask)
        ends = text.text["ln_final"](tokens[torch.arange(len(tokens)), self._ends])
        features = text.projection(ends) if isinstance(text.projection, nn.Linear) else ends @ text.projection
        return F.normalize(features, dim=-1).reshape(-1, 2, features.shape[-1])

    @staticmethod
    def _place(tokens: Tensor, level: Tensor, own: slice) -> Tensor:
        rows = level.expand(len(tokens), -1, -1)
        return torch.cat([tokens[:, : own.start], rows, tokens[:, own.stop :]], dim=1)
