"""Seconds per training step, both levels, beside the loop of the released PromptAD code.

The peer is written from the method's description, with the released code's economy: every prompt alone in a
context of 77 tokens, three passes of the text tower a step, the shots through the image tower again in every
step, image and pixel level trained one after the other. So its time per step is the sum of both levels'.
Both run fp32 with the official settings on one model, and must find the same losses in the first step.

The peer is spared what else the released loop does: decoding and resizing the shots every epoch, gradients of
the text tower's weights, prototypes and scores of the whole test set after every step.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from goodparts.evaluation.report.report import Findings, Options, check_same
from goodparts.runtime.core.preprocess import Array8
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import PromptLearner
from goodparts.trainer.promptad.prompts import Prompts
from goodparts.trainer.promptad.settings import PromptADSettings, promptad_settings
from goodparts.trainer.promptad.suffixes import GENERIC
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from ..synthetic import make_views, open_backbone
from ..timing import here, interleave

log = logging.getLogger(__name__)

REPEAT = 2
SHOTS = 4
PRODUCT = "metal nut"
LOSS_TOLERANCE = 1e-3
AIM = 5.0  # times faster

PEER = "released PromptAD loop"
Level = Literal["image", "pixel"]


class ReleasedLoop:
    """One level's training as the released code runs it."""

    def __init__(
        self, backbone: Backbone, level: Level, views: Array8, prompts: Prompts, chosen: PromptADSettings
    ) -> None:
        """prompts: to start from; trained in place."""
        self._backbone, self._level, self._prompts, self._chosen = backbone, level, prompts, chosen
        self._views = torch.from_numpy(views).to(backbone.device)
        length = backbone.text.context_length
        self._causal = torch.full((length, length), float("-inf"), device=backbone.device).triu(1)
        prefixes = len(prompts.normal_ctx)
        free = ["x"] * chosen.suffix_length  # one token that keeps a learnable suffix's place
        learned = " ".join([*free, f"{PRODUCT}."])
        manual = [f"{suffix.format(PRODUCT)}." for suffix in GENERIC for _ in range(prefixes)]
        self._normal = self._tokenize([f"{PRODUCT}."] * prefixes)
        self._manual = self._tokenize(manual)
        self._learned = self._tokenize([learned] * (prefixes * len(prompts.abnormal_ctx)))
        self._optimiser = torch.optim.SGD(
            prompts.parameters(), lr=chosen.lr, momentum=chosen.momentum, weight_decay=chosen.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimiser, T_max=chosen.steps, eta_min=chosen.final_lr
        )

    def _tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Word vectors [n,77,W] with room for the prefix, and the place of each [EOS], int64 [n]."""
        text = self._backbone.text
        tokenizer = SimpleTokenizer()
        ids = torch.zeros(len(texts), text.context_length, dtype=torch.long)
        ends = []
        for row, words in zip(ids, texts, strict=True):
            room = [0] * self._chosen.prefix_length
            tokens = [tokenizer.sot_token_id, *room, *tokenizer.encode(words), tokenizer.eot_token_id]
            row[: len(tokens)] = torch.tensor(tokens)
            ends.append(len(tokens) - 1)
        device = self._backbone.device
        return text.embed(ids.to(device)).detach(), torch.tensor(ends, device=device)

    def _encode(self, tokens: tuple[Tensor, Tensor], *contexts: Tensor) -> Tensor:
        """Put contexts [n,·,W] behind [SOS] and encode: raw features [n,D]."""
        vectors, ends = tokens
        text = self._backbone.text
        begin = torch.cat([vectors[:, :1], *contexts], dim=1)
        filled = torch.cat([begin, vectors[:, begin.shape[1] :]], dim=1)
        places, which = ends.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        features = text(filled, torch.arange(text.context_length), self._causal, places)  # [n,places,D]
        read: Tensor = features[torch.arange(len(which)), which]
        return read

    def step(self) -> list[float]:
        """One step; returns the losses before it: contrastive, margin, alignment before λ."""
        self._optimiser.zero_grad()
        prefix, suffix = self._prompts.normal_ctx, self._prompts.abnormal_ctx
        normal = self._encode(self._normal, prefix)
        manual = self._encode(self._manual, prefix.repeat(len(GENERIC), 1, 1))
        # Both lists repeated as wholes, so prefixes and suffixes pair cyclically (spec D9).
        learned = self._encode(self._learned, prefix.repeat(len(suffix), 1, 1), suffix.repeat(len(prefix), 1, 1))
        with torch.no_grad():
            outputs = self._backbone.visual(self._views)
        z: Tensor = outputs[0] if self._level == "image" else outputs[1]

        anomalous = torch.cat([manual, learned])
        good, bad = (F.normalize(part.mean(dim=0), dim=-1) for part in (normal, anomalous))
        candidates = torch.cat([good[None], F.normalize(anomalous, dim=-1)])
        similarity = self._backbone.logit_scale * torch.einsum("...d,nd->...n", z, candidates)
        contrastive = -similarity.log_softmax(dim=-1)[..., 0].mean()
        # The second axis is the channels' at image level, the patches' at pixel level (spec D12).
        margin = F.relu(((z - good) ** 2).sum(dim=1) - ((z - bad) ** 2).sum(dim=1)).mean()
        apart = F.normalize(manual, dim=-1).mean(dim=0) - F.normalize(learned, dim=-1).mean(dim=0)
        alignment = apart.square().sum()

        loss = contrastive + margin + self._chosen.alignment_weight * alignment
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._schedule.step()
        return [contrastive.item(), margin.item(), alignment.item()]


def measure(options: Options) -> Findings:
    findings = Findings()
    log.info("building %s", options.backbone)
    backbone = open_backbone(options.backbone)
    views = make_views(backbone.encoder, SHOTS)
    chosen = promptad_settings("official")
    learner = PromptLearner(backbone, backbone.encode(views), PRODUCT, GENERIC, chosen)
    image, pixel = (copy.deepcopy(task) for task in learner.tasks)
    peers = (
        ReleasedLoop(backbone, "image", views, image, chosen),
        ReleasedLoop(backbone, "pixel", views, pixel, chosen),
    )

    def ours() -> list[list[float]]:
        return [[part.item() for part in (loss.contrastive, loss.margin, loss.alignment)] for loss in learner.step()]

    # The first step is the warm-up.
    difference = float(np.abs(np.subtract(ours(), [peer.step() for peer in peers])).max())
    check_same("losses of the first step", difference, LOSS_TOLERANCE)
    log.info("losses of the first step agree to %.0e", difference)
    contenders: dict[str, Callable[[], object]] = {
        "ours": ours,
        "image": peers[0].step,
        "pixel": peers[1].step,
        "shots": lambda: backbone.encode(views),
    }
    turns = {name: here(call) for name, call in contenders.items()}
    timings = interleave(turns, options.repeat or REPEAT, warm=0)
    peer = timings["image"].median + timings["pixel"].median
    findings.add("training step, both levels", timings["ours"].median, "s", PEER, peer)
    findings.add(f"encoding {SHOTS} shots, once", timings["shots"].median, "s")
    for level in ("image", "pixel"):
        findings.add(f"{PEER}: step of the {level} level", timings[level].median, "s")
    findings.aim("training step, times faster than the peer", peer / timings["ours"].median, AIM, "", at_least=True)
    return findings
