"""The peer of our training step: the loop of the released PromptAD code.

The loop is written from the method's description and computes as much as the released code. Every prompt has a context
of its own with 77 tokens. Each step passes the text tower three times and encodes the shots again. The image level and
the pixel level are trained one after the other.

Parts of the released loop are left out, which makes the peer faster. The released loop decodes and resizes the shots in
every epoch, and computes gradients of the text tower's weights. After every step it computes prototypes and scores the
whole test set.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from goodparts.runtime.core.preprocess import Array8
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.prompts import Prompts
from goodparts.trainer.promptad.settings import PromptADSettings
from goodparts.trainer.promptad.suffixes import GENERIC
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

Level = Literal["image", "pixel"]


class ReleasedLoop:
    """The training of one level as the released code runs it."""

    def __init__(
        self,
        backbone: Backbone,
        level: Level,
        product: str,
        views: Array8,
        prompts: Prompts,
        settings: PromptADSettings,
    ) -> None:
        """Prepare a training.

        Args:
            backbone: The backbone, whose towers stay frozen.
            level: The level whose prompts are trained.
            product: The product in words.
            views: The shots, uint8 RGB [n,S,S,3].
            prompts: The prompts to start from, which are trained in place.
            settings: The settings of the method, of which the optimiser's, the prompts' lengths and λ are used.
        """
        self._backbone, self._level, self._prompts, self._settings = backbone, level, prompts, settings
        self._views = torch.from_numpy(views).to(backbone.device)
        length = backbone.text.context_length
        self._causal = torch.full((length, length), float("-inf"), device=backbone.device).triu(1)
        prefixes = len(prompts.normal_ctx)
        free = ["x"] * settings.suffix_length  # each is one token, which a learnable suffix replaces
        learned = " ".join([*free, f"{product}."])
        manual = [f"{suffix.format(product)}." for suffix in GENERIC for _ in range(prefixes)]
        self._normal = self._tokenize([f"{product}."] * prefixes)
        self._manual = self._tokenize(manual)
        self._learned = self._tokenize([learned] * (prefixes * len(prompts.abnormal_ctx)))
        self._optimiser = torch.optim.SGD(
            prompts.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimiser, T_max=settings.steps, eta_min=settings.final_lr
        )

    def _tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return the word vectors [n,77,W], with places for the prefix, and the position of each [EOS], int64 [n]."""
        text = self._backbone.text
        tokenizer = SimpleTokenizer()
        ids = torch.zeros(len(texts), text.context_length, dtype=torch.long)
        ends = []
        for row, text_of_row in zip(ids, texts, strict=True):
            prefix = [0] * self._settings.prefix_length
            tokens = [tokenizer.sot_token_id, *prefix, *tokenizer.encode(text_of_row), tokenizer.eot_token_id]
            row[: len(tokens)] = torch.tensor(tokens)
            ends.append(len(tokens) - 1)
        device = self._backbone.device
        return text.embed(ids.to(device)).detach(), torch.tensor(ends, device=device)

    def _encode(self, tokens: tuple[Tensor, Tensor], *contexts: Tensor) -> Tensor:
        """Encode the texts with contexts [n,·,W] after their [SOS]. Return features [n,D], not normalised."""
        vectors, ends = tokens
        text = self._backbone.text
        begin = torch.cat([vectors[:, :1], *contexts], dim=1)
        filled = torch.cat([begin, vectors[:, begin.shape[1] :]], dim=1)
        positions, inverse = ends.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        features = text(filled, torch.arange(text.context_length), self._causal, positions)  # [n,positions,D]
        at_ends: Tensor = features[torch.arange(len(inverse)), inverse]
        return at_ends

    def step(self) -> list[float]:
        """Take a step.

        Returns:
            The losses before the step: contrastive, margin, and alignment without its weight λ.
        """
        self._optimiser.zero_grad()
        prefix, suffix = self._prompts.normal_ctx, self._prompts.abnormal_ctx
        normal = self._encode(self._normal, prefix)
        manual = self._encode(self._manual, prefix.repeat(len(GENERIC), 1, 1))
        # Both lists are repeated as a whole, so prefixes and suffixes are paired cyclically (docs/promptad.md, D9).
        learned = self._encode(self._learned, prefix.repeat(len(suffix), 1, 1), suffix.repeat(len(prefix), 1, 1))
        with torch.no_grad():
            outputs = self._backbone.visual(self._views)
        z: Tensor = outputs[0] if self._level == "image" else outputs[1]

        anomalous = torch.cat([manual, learned])
        good, bad = (F.normalize(features.mean(dim=0), dim=-1) for features in (normal, anomalous))
        candidates = torch.cat([good[None], F.normalize(anomalous, dim=-1)])
        similarity = self._backbone.logit_scale * torch.einsum("...d,nd->...n", z, candidates)
        contrastive = -similarity.log_softmax(dim=-1)[..., 0].mean()
        # The second axis has the channels at image level, and the patches at pixel level (docs/promptad.md, D12).
        margin = F.relu(((z - good) ** 2).sum(dim=1) - ((z - bad) ** 2).sum(dim=1)).mean()
        difference = F.normalize(manual, dim=-1).mean(dim=0) - F.normalize(learned, dim=-1).mean(dim=0)
        alignment = difference.square().sum()

        loss = contrastive + margin + self._settings.alignment_weight * alignment
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._schedule.step()
        return [contrastive.item(), margin.item(), alignment.item()]
