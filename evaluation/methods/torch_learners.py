"""Methods whose learning or scoring needs torch: CLIP with linear layers, CoCoOp and RWDA.

Each follows its paper's idea in the few-shot setting of PromptAD's tables, which give no more than their names.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from goodparts.runtime.core.scoring import Features, Floats, fuse, memory_scores, prompt_scores
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.text_tower import INITIAL_SPREAD
from goodparts.trainer.promptad.ensemble import compose, encode_texts
from goodparts.trainer.promptad.learner import Losses, PromptLearner
from goodparts.trainer.promptad.prompts import PackedLayout
from goodparts.trainer.promptad.settings import CLEAN_TEMPERATURE, PROTOCOLS
from goodparts.trainer.promptad.suffixes import GENERIC
from goodparts.trainer.steps import flushed_denormals
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from .clip_paths import vit
from .method import Judge, Lesson, Product

CLEAN = PROTOCOLS["clean"]


class LinearLearner(PromptLearner):
    """PromptAD's prompts, and with them a linear layer for each tapped block, from its patches to the joint space.

    As APRIL-GAN has them (Chen et al., 2023), which learns them from bad parts too; here they begin as CLIP's own
    projection and follow the same losses.
    """

    def __init__(self, backbone: Backbone, features: Features, product: str, seed: int) -> None:
        super().__init__(backbone, features, product, GENERIC, CLEAN, seed)
        start = vit(backbone).visual.proj.detach()
        self.layers = [start.clone().requires_grad_() for _ in features.memory]
        self._taps = [torch.from_numpy(part).to(backbone.device) for part in features.memory]
        self._layer_optimiser = torch.optim.SGD(
            self.layers, lr=CLEAN.lr, momentum=CLEAN.momentum, weight_decay=CLEAN.weight_decay
        )

    def targets(self) -> tuple[Tensor, ...]:
        """The patches of all blocks side by side, as the layers stand."""
        mapped = [F.normalize(tap @ layer, dim=-1) for tap, layer in zip(self._taps, self.layers, strict=True)]
        return super().targets()[0], torch.cat(mapped, dim=1)

    def step(self) -> list[Losses]:
        self._layer_optimiser.zero_grad()
        found = super().step()
        self._layer_optimiser.step()
        return found


def learn_linear(lesson: Lesson) -> Judge:
    """Prompts alone; a patch scores the mean over the blocks."""
    product = lesson.product
    learner = LinearLearner(product.backbone(), lesson.features, product.text, product.seed)
    prototypes = learner.learn()
    layers: list[Floats] = [layer.detach().cpu().numpy() for layer in learner.layers]

    def judge(features: Features) -> tuple[Floats, Floats]:
        scores = []
        for part, layer in zip(features.memory, layers, strict=True):
            mapped = part @ layer
            mapped /= np.linalg.norm(mapped, axis=-1, keepdims=True)
            scores.append(prompt_scores(mapped, prototypes.pixel, CLEAN_TEMPERATURE))
        grid = np.mean(scores, axis=0).reshape(-1, *features.grid)
        return prompt_scores(features.global_, prototypes.image, CLEAN_TEMPERATURE), np.asarray(grid, np.float32)

    return Judge(judge)


class CoCoOp(nn.Module):
    """A learnable context that a small net shifts for each photo (Zhou et al., Conditional Prompt Learning, CVPR 2022).

    The normal prompt alone is learned; anomaly prompts are the generic suffixes' texts, as our CoOp has them.
    """

    def __init__(self, backbone: Backbone, product: str, seed: int) -> None:
        super().__init__()
        self._text = backbone.text
        self._layout = PackedLayout(
            product, (), prefix_length=CLEAN.prefix_length, learned=0, suffix_length=1, suffix_place="after",
            context_length=backbone.text.context_length,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        width, joint = backbone.text.width, backbone.encoder.width
        narrow = max(1, joint // 16)
        self.context = nn.Parameter(torch.randn(CLEAN.prefix_length, width, generator=generator) * INITIAL_SPREAD)
        self.inner = nn.Parameter(torch.randn(joint, narrow, generator=generator) / math.sqrt(joint))
        self.outer = nn.Parameter(torch.zeros(narrow, width))
        texts = [f"{suffix.replace('{}', product)}." for suffix in GENERIC]
        anomalous = F.normalize(encode_texts(backbone.text, texts).clone(), dim=-1)
        self.anomalous = nn.Parameter(anomalous, requires_grad=False)
        self.to(backbone.device)

    def forward(self, whole: Tensor) -> Tensor:
        """Global features [B,D] → each photo's normal prompt, l2-normalised [B,D]."""
        layout, device = self._layout, whole.device
        rows = self._text.embed(layout.ids.to(device)).detach().expand(len(whole), -1, -1).clone()
        rows[:, layout.prefix] = self.context + (torch.relu(whole @ self.inner) @ self.outer)[:, None]
        found = self._text(rows, layout.positions.to(device), layout.mask.to(device), layout.eos.to(device))
        return F.normalize(found[:, 0], dim=-1)

    def loss(self, whole: Tensor, z: Tensor) -> Tensor:
        """Eq. 12 for each photo's features z [B,P,D] against its own normal prompt and all anomaly prompts."""
        normal = (z * self(whole)[:, None]).sum(dim=-1, keepdim=True)
        logits = CLEAN_TEMPERATURE * torch.cat([normal, z @ self.anomalous.T], dim=-1).flatten(0, 1)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=z.device))


def learn_cocoop(lesson: Lesson) -> Judge:
    """One model a level, learned as PromptAD is; scores are prompts alone."""
    backbone, product = lesson.product.backbone(), lesson.product
    whole, local = (
        torch.from_numpy(part).to(backbone.device) for part in (lesson.features.global_, lesson.features.local)
    )
    models = []
    for z in (whole[:, None], local):
        model = CoCoOp(backbone, product.text, product.seed)
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.SGD(learned, CLEAN.lr, CLEAN.momentum, weight_decay=CLEAN.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, CLEAN.steps, CLEAN.final_lr)
        with flushed_denormals():
            for _ in range(CLEAN.steps):
                optimiser.zero_grad()
                model.loss(whole, z).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
        models.append(model)

    def judge(features: Features) -> tuple[Floats, Floats]:
        shown = torch.from_numpy(features.global_).to(backbone.device)
        scores = []
        for model, z in zip(models, (features.global_[:, None], features.local), strict=True):
            with torch.inference_mode():
                normal = model(shown).cpu().numpy()
            anomalous = F.normalize(model.anomalous.mean(dim=0), dim=-1).cpu().numpy()
            pairs = zip(z, normal, strict=True)
            scores.append([prompt_scores(one, np.stack([good, anomalous]), CLEAN_TEMPERATURE) for one, good in pairs])
        return np.stack(scores[0])[:, 0], np.stack(scores[1]).reshape(-1, *features.grid)

    return Judge(judge)


RANDOM_WORDS, DIFFERENT_WORDS, RWDA_STEPS = 4, 256, 200
"""Copies of every prompt, each with a random word behind it; of so many; steps of Adam."""


def learn_rwda(lesson: Lesson, memory: bool) -> Judge:
    """RWDA (Tamura, BMVC 2023): a small net tells normal from anomalous prompts with random words among them; on image
    features it tells good from bad. Nothing is learned from photos; with memory, its score is fused with theirs."""
    backbone, product = lesson.product.backbone(), lesson.product
    net = _teach_rwda(backbone, product)
    banks = tuple(part.reshape(-1, part.shape[-1]) for part in lesson.features.memory)

    def probability(z: Floats) -> Floats:
        with torch.inference_mode():
            found: Floats = torch.sigmoid(net(torch.from_numpy(z).to(backbone.device)))[..., 0].cpu().numpy()
        return found

    def judge(features: Features) -> tuple[Floats, Floats]:
        image, patches = probability(features.global_), probability(features.local)
        if memory:
            distance = memory_scores(features.memory, banks)
            image, patches = fuse(image, distance.max(axis=1)), fuse(patches, distance)
        return image, patches.reshape(-1, *features.grid)

    return Judge(judge)


def _teach_rwda(backbone: Backbone, product: Product) -> nn.Module:
    """The net, learned from the ensemble's texts; the same for one seed."""
    draw = np.random.default_rng(product.seed)
    known = known_words(backbone)
    words = [known[number] for number in draw.permutation(len(known))[:DIFFERENT_WORDS]]
    texts, labels = [], []
    for label, group in enumerate(compose(product.text)):
        for text in group:
            texts += [f"{text} {words[number]}" for number in draw.integers(len(words), size=RANDOM_WORDS)]
            labels += [float(label)] * RANDOM_WORDS
    z = F.normalize(encode_texts(backbone.text, texts).clone(), dim=-1)
    wanted = torch.tensor(labels, device=z.device)[:, None]
    weight = (wanted == 0).sum() / (wanted == 1).sum()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(product.seed)
        net = nn.Sequential(nn.Linear(z.shape[1], 128), nn.ReLU(), nn.Linear(128, 1)).to(z.device)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(RWDA_STEPS):
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(net(z), wanted, pos_weight=weight)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return net


@functools.lru_cache(maxsize=1)
def known_words(backbone: Backbone) -> Sequence[str]:
    """Of CLIP's vocabulary, words of at least three letters that the backbone knows."""
    tokens = (token.removesuffix("</w>") for token in SimpleTokenizer().encoder if token.endswith("</w>"))
    words = [token for token in tokens if token.isascii() and token.isalpha() and len(token) > 2]
    unknown = set(backbone.unknown_words(words))
    return [word for word in words if word not in unknown]
